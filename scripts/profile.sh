#!/usr/bin/env bash
# Makes the profile anew by which `cargo build --release` optimises: of two minutes of the benchmark's load, with this compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-2}"
target="${CARGO_TARGET_DIR:-target}"
mkdir -p "$target"
target=$(cd "$target" && pwd)
work="$target/profile"

about=$(rustc -vV)
fact() { sed -n "s/^$1: //p" <<<"$about"; }
host=$(fact host)
llvm=$(fact 'LLVM version')
llvm=${llvm%%.*}
# scripts/rustc.sh looks for it under this name.
profile="scripts/profile/$(fact release)-$host.profdata"

# A profile is read by no LLVM older than the one that wrote it, so the merger has to be rustc's own or as new.
merger() {
  for found in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" "/usr/lib/llvm-$llvm/bin/llvm-profdata"; do
    [ -x "$found" ] && echo "$found" && return
  done
  command -v "llvm-profdata-$llvm"
}

if ! merger >/dev/null; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "llvm-$llvm" >/dev/null; } || :
  fi
  merger >/dev/null || {
    echo "profile.sh: llvm-profdata of LLVM $llvm is missing: rustup component add llvm-tools, or Debian's package llvm-$llvm" >&2
    exit 1
  }
fi

echo "building the program that is watched" >&2
RUSTC_WRAPPER='' RUSTFLAGS="-Cprofile-generate=$work/raw" CARGO_TARGET_DIR="$work" \
  cargo build --locked --release --quiet --bin greenroom

echo "watching it at work" >&2
rm -rf "$work/raw"
watched="$work/release/greenroom"
GREENROOM_BIN="$watched" scripts/bench.sh plain,stream,translated,plain100k,latency --only greenroom --rounds 1 >&2

# The benchmark's backends speak one protocol; the demo's speak them all, or the others' code would be built as never run.
log=$(mktemp)
"$watched" serve --demo --bind 127.0.0.1:0 >"$log" 2>/dev/null &
demo=$!
trap 'kill "$demo" 2>/dev/null || :; rm -f "$log"' EXIT
url=
for _ in $(seq 100); do
  url=$(sed -n 's/^greenroom listening on //p' "$log")
  [ -n "$url" ] && break
  sleep 0.1
done
[ -n "$url" ] || { echo "profile.sh: the demo did not start" >&2; exit 1; }
for streaming in "" --streaming; do
  # One of the demo's backends always fails, and so the command does.
  "$watched" benchmark --url "$url" --token your-token --rounds 40 --concurrency 8 $streaming >/dev/null 2>&1 || :
done
kill "$demo"
wait "$demo" || :

mkdir -p "${profile%/*}"
# Sparse: a quarter of the size, for what never ran is left out.
"$(merger)" merge -sparse -o "$profile" "$work"/raw/*.profraw
# Cargo does not know that what it has built was built by another profile.
cargo clean --release --quiet
echo "$profile"
