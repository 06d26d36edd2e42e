#!/usr/bin/env bash
# Ends what run.sh started: containers, networks, rules, processes, and the engine if it started that.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1
data=${SKIFF_DATA:-/var/lib/skiff}
state=${SKIFF_STATE:-/run/skiff-make}
. scripts/engine.sh

if [ -f "$state/skiff.pid" ]; then
    pid=$(cat "$state/skiff.pid")
    if kill "$pid" 2>/dev/null; then
        wait_for 30 bash -c "! kill -0 $pid 2>/dev/null" || kill -9 "$pid" 2>/dev/null || true
    fi
    rm -f "$state/skiff.pid"
fi
if [ -e "$data" ]; then
    if ! engine_answers; then
        echo "No Docker engine answers, so that containers and networks cannot be removed. Start it, then \`make stop\` again." >&2
        exit 1
    fi
    "$bin/skiff" down --data-dir "$data" --purge
    docker image rm -f skiff/hello:v1 >/dev/null 2>&1 || true
fi
stop_engine "$state"
rm -rf "$state"
echo "Stopped. Nothing is left running."
