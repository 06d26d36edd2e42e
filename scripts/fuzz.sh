#!/usr/bin/env bash
# Gives every decoder's target that many seconds, one after the other. A fault prints its seed and its input.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZ_SECONDS=$1
cargo test --release -p skiff-api --test fuzz -- --nocapture --test-threads 1
cargo test --release -p skiff-apiserver --lib fuzz_ -- --nocapture --test-threads 1
cargo test --release -p skiff-nodeagent --lib fuzz_ -- --nocapture --test-threads 1
