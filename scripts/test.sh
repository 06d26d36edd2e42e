#!/usr/bin/env bash
# Every test: units, storage contract on both stores, API, whole system.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p skiff -p skiff-ctl
BIN=$(realpath "${CARGO_TARGET_DIR:-target}/release")
export SKIFF_BIN=$BIN
if cargo nextest --version >/dev/null 2>&1; then
    run=(nextest run)
else
    run=(test)
fi
cargo "${run[@]}" --workspace
# The same cluster on etcd: those of the whole system that cost little and show much.
SKIFF_TEST_STORE=etcd cargo "${run[@]}" -p skiff-tests \
    --test first_light --test garbage --test pods_lifecycle --test drain --test apply
