#!/usr/bin/env bash
# Soaks the proxy with faults, kills and reloads, ten minutes unless told otherwise: scripts/soak.sh [--seconds 60] [--seed N]
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${GREENROOM_BIN:-}" ]; then
  cargo build --locked --release --quiet --bin greenroom
  GREENROOM_BIN="${CARGO_TARGET_DIR:-target}/release/greenroom"
fi
exec python3 -B scripts/soak/soak.py --binary "$GREENROOM_BIN" "$@"
