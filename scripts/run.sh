#!/usr/bin/env bash
# Starts a cluster on this machine, applies the example, waits for it, shows it. Harmless when run twice.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
data=${SKIFF_DATA:-/var/lib/skiff}
state=${SKIFF_STATE:-/run/skiff-make}
. scripts/engine.sh

ensure_engine "$state"
mkdir -p "$state" "$data"
echo "Building the example image …"
scripts/images.sh

running() { [ -f "$state/skiff.pid" ] && kill -0 "$(cat "$state/skiff.pid")" 2>/dev/null; }
if running; then
    echo "Skiff is running already."
else
    echo "Starting skiff …"
    setsid "$bin/skiff" up --data-dir "$data" >"$state/skiff.out" 2>"$state/skiff.log" </dev/null &
    echo $! >"$state/skiff.pid"
    said_ready() { grep -q '^ready' "$state/skiff.out" || ! running; }
    wait_for 90 said_ready || true
    if ! running || ! grep -q '^ready' "$state/skiff.out"; then
        echo "Skiff did not get ready. Its log ends:" >&2
        tail -15 "$state/skiff.log" >&2
        exit 1
    fi
    head -1 "$state/skiff.out"
fi

export KUBECONFIG=$data/kubeconfig
"$bin/ctl" apply -f manifests/hello.yaml
"$bin/ctl" rollout status deployment/hello --timeout=120s
"$bin/ctl" get pods -o wide
"$bin/ctl" get service hello
address=$("$bin/ctl" get service hello -o 'jsonpath={.spec.clusterIP}')
answers() { curl -fsS --noproxy '*' --max-time 2 "http://$address/" >"$state/answer" 2>/dev/null; }
wait_for 15 answers || { echo "The Service did not answer at $address." >&2; exit 1; }
echo
echo "http://$address/ answers: $(cat "$state/answer")"
cat <<END

Look further:  $bin/ctl get pods -A
               $bin/ctl logs deployment/hello
With kubectl:  KUBECONFIG=$data/kubeconfig kubectl get nodes
Stop:          make stop
END
