#!/bin/sh
# Measures Greenroom beside nginx in one run; `scripts/bench.sh --help` lists what can be measured.
set -eu
cd "$(dirname "$0")/.."

need() { # command, Debian package
    command -v "$1" >/dev/null 2>&1 && return
    echo "installing $2" >&2
    if [ "$(id -u)" = 0 ]; then apt-get install -y -q "$2" >&2; else sudo apt-get install -y -q "$2" >&2; fi
}

case " $* " in
*" --help "* | *" -h "*) exec python3 scripts/bench/bench.py "$@" ;;
*" --quick "*) need valgrind valgrind ;;
*" --only greenroom "*) ;;
*) need nginx nginx-light ;;
esac

case " $* " in
*" balance "*) cargo build --release --quiet --example bench_fleet ;;
*) cargo build --release --quiet --example bench_upstream --example bench_load ;;
esac
if [ -z "${GREENROOM_BIN:-}" ]; then
    case " $* " in
    *" --only nginx "*) ;;
    *) cargo build --release --quiet --bin greenroom ;;
    esac
fi
BENCH_BUILD="${CARGO_TARGET_DIR:-target}/release" exec python3 scripts/bench/bench.py "$@"
