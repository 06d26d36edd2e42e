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
        ip link show docker0 >/dev/null 2>&1 || : >"$state/engine.bridge"
        rules >"$state/engine.rules"
        cat /proc/sys/net/ipv4/ip_forward >"$state/engine.forward"
        setsid dockerd >"$state/engine.log" 2>&1 </dev/null &
        echo $! >"$state/engine.pid"
    fi
    if ! wait_for 60 engine_answers; then
        echo "Docker did not start. Its log ends:" >&2
        tail -5 "$state/engine.log" >&2 2>/dev/null || true
        return 1
    fi
}

# Every rule, chain and policy of iptables, as words that make it.
rules() {
    local program table
    for program in iptables ip6tables; do
        for table in raw filter nat; do
            "$program" -t "$table" -S 2>/dev/null | sed "s/^/$program -t $table /" || true
        done
    done
}

# An engine that ends leaves its bridge and rules, and packets are no longer forwarded but to containers. What was not there
# before goes: rules first, then chains.
forget_engine() { # STATE
    local state=$1 line
    local -a words
    [ -f "$state/engine.rules" ] || return 0
    rules | grep -vxFf "$state/engine.rules" >"$state/engine.new" || true
    for kind in -A -N; do
        while read -r line; do
            eval "words=($(sed "s/ -A / -D /; s/ -N / -X /" <<<"$line"))"
            "${words[@]}" 2>/dev/null || true
        done < <(grep -E -- "^[a-z0-9]+ -t [a-z]+ $kind .*(DOCKER|docker0)" "$state/engine.new")
    done
    while read -r line; do
        eval "words=($line)"
        "${words[@]}" 2>/dev/null || true
    done < <(rules | grep -vxFf "$state/engine.rules" | grep -- ' -P FORWARD ' | sed 's/ DROP$/ ACCEPT/')
    [ ! -f "$state/engine.bridge" ] || ip link delete docker0 2>/dev/null || true
    cat "$state/engine.forward" >/proc/sys/net/ipv4/ip_forward
}

stop_engine() { # STATE
    local state=$1
    if [ -f "$state/engine.pid" ]; then
        local pid; pid=$(cat "$state/engine.pid")
        if kill "$pid" 2>/dev/null; then
            wait_for 30 bash -c "! kill -0 $pid 2>/dev/null" || true
        fi
        forget_engine "$state"
        rm -f "$state"/engine.*
    fi
    if [ -f "$state/engine.systemd" ]; then
        systemctl stop docker docker.socket || true
        rm -f "$state/engine.systemd"
    fi
}
