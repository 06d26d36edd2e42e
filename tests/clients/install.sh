#!/usr/bin/env bash
# Installs the clients that tests/tests/clients.rs speaks through, at the versions written beside this file, into the
# folder named. It fails, and says so, where the package indexes cannot be reached.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=$1
wanted=$(cat "$here/requirements.txt" "$here/package.json")
mkdir -p "$into"
exec 9>"$into/lock"
flock 9
if [ -e "$into/installed" ] && [ "$(cat "$into/installed")" = "$wanted" ]; then exit 0; fi
rm -rf "$into/python" "$into/node"
mkdir -p "$into/node"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --target "$into/python" --requirement "$here/requirements.txt"
cp "$here/package.json" "$into/node/"
(cd "$into/node" && npm install --silent --no-audit --no-fund --no-package-lock)
printf '%s' "$wanted" >"$into/installed"
