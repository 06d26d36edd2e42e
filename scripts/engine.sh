# shellcheck shell=bash
# Finds a Docker engine, or starts one. Sourced.
#
# ensure_engine STATE: leaves STATE/engine.pid only if the engine is one that this started.

engine_answers() {
    local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    case "$host" in
        unix://*) curl -fsS --max-time 3 --unix-socket "${host#unix://}" http://engine/_ping >/dev/null 2>&1 ;;
        tcp://*) curl -fsS --max-time 3 "http://${host#tcp://}/_ping" >/dev/null 2>&1 ;;
        *) docker -H "$host" version >/dev/null 2>&1 ;;
    esac
}

wait_for() { # seconds, command…
    local until=$((SECONDS + $1)); shift
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.2
    done
}

ensure_engine() {
    local state=$1
    engine_answers && return 0
    if [ -n "${DOCKER_HOST:-}" ]; then
        echo "No Docker engine answers at DOCKER_HOST=$DOCKER_HOST. Start it, or unset DOCKER_HOST." >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "No Docker engine answers, and only root can start one. Start it, or run this as root." >&2
        return 1
    fi
    mkdir -p "$state"
    if [ -d /run/systemd/system ]; then
        echo "Starting Docker …"
        systemctl start docker && : >"$state/engine.systemd"
    else
        echo "Starting Docker (no systemd here) …"
        setsid dockerd >"$state/engine.log" 2>&1 </dev/null &
        echo $! >"$state/engine.pid"
    fi
    if ! wait_for 60 engine_answers; then
        echo "Docker did not start. Its log ends:" >&2
        tail -5 "$state/engine.log" >&2 2>/dev/null || true
        return 1
    fi
}

stop_engine() { # STATE
    local state=$1
    if [ -f "$state/engine.pid" ]; then
        local pid; pid=$(cat "$state/engine.pid")
        if kill "$pid" 2>/dev/null; then
            wait_for 30 bash -c "! kill -0 $pid 2>/dev/null" || true
        fi
        rm -f "$state/engine.pid" "$state/engine.log"
    fi
    if [ -f "$state/engine.systemd" ]; then
        systemctl stop docker docker.socket || true
        rm -f "$state/engine.systemd"
    fi
}
