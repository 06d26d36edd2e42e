#!/usr/bin/env bash
# Measures this build on this machine, prints a table and keeps it in bench/RESULTS.md.
#
# run.sh BIN_DIR; PODS (default 27000) is how many pods are held at the end. A figure that could not be taken says so.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${1:?usage: run.sh BIN_DIR}")
pods=${PODS:-27000}
work=$(mktemp -d)
pid=
finish() { [ -z "$pid" ] || kill "$pid" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT

now() { date +%s%N; }
start() { # name, flags…: sets $pid and $took (seconds from exec to the line that says ready)
    local dir=$work/$1; shift
    mkdir "$dir"
    mkfifo "$dir/out"
    local from; from=$(now)
    "$bin/skiff" up --data-dir "$dir/data" --listen 127.0.0.1:"$port" "$@" >"$dir/out" 2>"$dir/log" &
    pid=$!
    if ! read -r -t 60 line <"$dir/out" || [[ $line != ready* ]]; then
        echo "skiff did not get ready; its log ends:" >&2
        tail -5 "$dir/log" >&2
        return 1
    fi
    took=$(awk "BEGIN { printf \"%.2f\", ($(now) - $from) / 1e9 }")
}
stop() { kill "$pid"; wait "$pid" || true; pid=; }
tree() { echo "$1"; for child in $(pgrep -P "$1"); do tree "$child"; done; }
pss() { # MB of the process tree
    for one in $(tree "$pid"); do cat "/proc/$one/smaps_rollup"; done | awk '/^Pss:/ { s += $2 } END { printf "%.0f", s / 1024 }'
}
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
rows=()
row() { rows+=("| $1 | $2 |"); echo "$1: $2" >&2; }

start api --nodes 0
row "start to ready, API without nodes" "$took s"
stop
start node --nodes 1 --runtime simulated
row "start to ready, with one simulated node" "$took s"
sleep 10 # idle is a state of rest, not a condition to wait for
row "memory, idle (PSS of the process tree)" "$(pss) MB"
stop

start load --nodes 0
kubeconfig=$work/load/data/kubeconfig
made=0
for connections in 16 64; do
    read -r rate p50 p99 <<<"$(python3 bench/load.py "$kubeconfig" create 5000 $connections)"
    [ -n "$rate" ] || exit 1
    made=$((made + 5000))
    row "durable creates of a 2 KB pod, embedded store, $connections connections" "$rate/s, p50 $p50 ms, p99 $p99 ms"
done
if [ "$made" -lt "$pods" ]; then
    python3 bench/load.py "$kubeconfig" create $((pods - made)) 16 >/dev/null
    made=$pods
fi
read -r bytes best <<<"$(python3 bench/load.py "$kubeconfig" list 3)"
[ -n "$best" ] || exit 1
row "list of $made pods ($((bytes / 1000000)) MB) on one connection, best of 3" "$best s"
row "memory holding them, after the lists (PSS)" "$(pss) MB"
stop

{
    echo "# Results"
    echo
    echo "Written by \`make bench\` on $(date -u +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)."
    echo
    echo "Machine: $(nproc) × $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(awk '/MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r), load average before the end $(cut -d' ' -f1 /proc/loadavg)."
    echo
    echo "| measured | result |"
    echo "|---|---|"
    printf '%s\n' "${rows[@]}"
    echo
    echo "The load generator (\`bench/load.py\`, Python) runs on the same machine, and its cost is in the figures."
    echo "Not measured yet: a Docker node, \`apply\` to Running against \`docker run\`, the etcd store, upstream beside it."
} | tee bench/RESULTS.md
