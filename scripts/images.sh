#!/usr/bin/env bash
# Builds the example image from the tree. No registry is asked. (The sandbox image is inside skiff.)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}/images
mkdir -p "$out"
if [ ! -x "$out/hello" ] || [ images/hello/hello.rs -nt "$out/hello" ]; then
    rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols images/hello/hello.rs -o "$out/hello"
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$out/hello" images/hello/Dockerfile "$context"
tar -C "$context" -c hello | docker import -c 'ENTRYPOINT ["/hello"]' - skiff/hello:v1 >/dev/null
