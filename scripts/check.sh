#!/usr/bin/env bash
# The one gate: format, lints, all tests, documentation, the official SDKs, every documented command. Sets up what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-2}"
venv=.venv
target="${CARGO_TARGET_DIR:-target}"

step() { printf '\n== %s\n' "$*"; }

need() { # need COMMAND PACKAGE: installs a Debian package where a command is missing and that is possible
  command -v "$1" >/dev/null && return
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    [ -n "${apt_updated:-}" ] || { apt-get -qq update; apt_updated=yes; }
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "$2" >/dev/null
  fi
  command -v "$1" >/dev/null || { echo "check.sh: $1 is missing; install the package $2" >&2; exit 1; }
}

step "tools"
need curl curl
need jq jq
need bc bc
need shellcheck shellcheck
need promtool prometheus
need python3 python3
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt -r tests/tools/requirements.txt

step "format"
cargo fmt --check

step "lints"
cargo clippy --locked --all-targets --quiet -- -D warnings
# Nothing is linked, so that there has to be no libFuzzer, nor a compiler for it.
CUSTOM_LIBFUZZER_PATH=/libfuzzer.a cargo clippy --manifest-path fuzz/Cargo.toml --target-dir "$target" --locked --quiet -- -D warnings
shellcheck scripts/*.sh

step "tests"
cargo test --locked --quiet

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet

step "official SDKs and documented commands, against the demo"
log=$(mktemp)
"$target/debug/greenroom" serve --demo --bind 127.0.0.1:0 >"$log" 2>"$log.err" &
demo=$!
trap 'kill "$demo" 2>/dev/null || true; rm -f "$log" "$log.err"' EXIT
for _ in $(seq 100); do
  url=$(sed -n 's/^greenroom listening on //p' "$log")
  [ -n "$url" ] && break
  sleep 0.1
done
[ -n "$url" ] || { echo "check.sh: the demo did not start" >&2; cat "$log.err" >&2; exit 1; }
binaries=$(cd "$target/debug" && pwd)
export GREENROOM_URL="$url" GREENROOM_TOKEN=your-token PATH="$binaries:$PWD/$venv/bin:$PATH"
"$venv/bin/python" -m pytest -q tests/sdk tests/tools
"$venv/bin/python" tests/commands.py "$url"

step "soak, a minute of it"
GREENROOM_BIN="$target/debug/greenroom" scripts/soak.sh --seconds 60

step "all good"
