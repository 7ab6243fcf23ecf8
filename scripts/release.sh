#!/usr/bin/env bash
# Builds the program as it is to be shipped: optimised by the profile of a minute of the benchmark's load.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-2}"
target="${CARGO_TARGET_DIR:-target}"
mkdir -p "$target"
target=$(cd "$target" && pwd)
profile="$target/profile"

llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')

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
    echo "release.sh: llvm-profdata of LLVM $llvm is missing: rustup component add llvm-tools, or Debian's package llvm-$llvm" >&2
    exit 1
  }
fi

echo "building the program that is watched" >&2
RUSTFLAGS="-Cprofile-generate=$profile/raw" CARGO_TARGET_DIR="$profile/watched" \
  cargo build --locked --release --quiet --bin greenroom

echo "watching it at work" >&2
rm -rf "$profile/raw"
watched="$profile/watched/release/greenroom"
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
[ -n "$url" ] || { echo "release.sh: the demo did not start" >&2; exit 1; }
for streaming in "" --streaming; do
  # One of the demo's backends always fails, and so the command does.
  "$watched" benchmark --url "$url" --token your-token --rounds 40 --concurrency 8 $streaming >/dev/null 2>&1 || :
done
kill "$demo"
wait "$demo" || :
"$(merger)" merge -o "$profile/merged.profdata" "$profile"/raw/*.profraw

# What never ran stands apart from what did, within functions too: at low rates each request meets cold caches, and reads less.
apart="-Cllvm-args=-split-machine-functions -Clink-arg=-Wl,-z,keep-text-section-prefix"
echo "building the program" >&2
RUSTFLAGS="-Cprofile-use=$profile/merged.profdata $apart" CARGO_TARGET_DIR="$profile/shipped" \
  cargo build --locked --release --quiet --bin greenroom
echo "$profile/shipped/release/greenroom"
