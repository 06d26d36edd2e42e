#!/usr/bin/env bash
# Every test: units, storage contract on both stores, API, whole system.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p skiff -p skiff-ctl
BIN=$(realpath "${CARGO_TARGET_DIR:-target}/release")
export SKIFF_BIN=$BIN
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace
else
    cargo test --workspace
fi
