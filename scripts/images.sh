#!/usr/bin/env bash
# Builds the example image from the tree. No registry is asked. (The sandbox image is inside skiff.)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}/images
mkdir -p "$out"
if [ ! -x "$out/hello" ] || [ images/hello/hello.rs -nt "$out/hello" ]; then
    rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols images/hello/hello.rs -o "$out/hello"
fi
# An import that replaced the same image would leave it behind without a name.
content=$(sha256sum "$out/hello" | cut -d ' ' -f 1)
[ "$(docker image inspect -f '{{.Config.Labels.content}}' skiff/hello:v1 2>/dev/null || true)" = "$content" ] && exit 0
tar -C "$out" -c hello | docker import -c "LABEL content=$content" -c 'ENTRYPOINT ["/hello"]' - skiff/hello:v1 >/dev/null
