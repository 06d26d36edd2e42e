#!/usr/bin/env bash
# Installs the Debian packages that are missing for the purposes named: build, engine, test.
set -euo pipefail

missing=()
need() { # command, packages that bring it
    command -v "$1" >/dev/null 2>&1 || missing+=("${@:2}")
}

PATH="$PATH:/usr/sbin:/sbin"
for purpose in "$@"; do
    case "$purpose" in
        build)
            need cc gcc libc6-dev
            need curl curl
            need protoc protobuf-compiler
            [ -e /usr/include/google/protobuf/descriptor.proto ] || missing+=(libprotobuf-dev)
            ;;
        engine)
            # A client alone is no engine.
            if [ -z "${DOCKER_HOST:-}" ] && ! [ -S /var/run/docker.sock ]; then need dockerd docker.io; fi
            need nft nftables
            need iptables iptables
            need conntrack conntrack
            ;;
        test)
            need dockerd docker.io
            need etcd etcd-server
            need docker-registry docker-registry
            command -v kubectl >/dev/null 2>&1 || missing+=(kubernetes-client)
            need busybox busybox-static
            need nginx nginx-light
            # Not for this machine: one of the tests boots a machine of its own.
            [ -x /lib/systemd/systemd ] || missing+=(systemd)
            # The Python and JavaScript clients come from their own indexes: tests/clients/install.sh.
            need python3 python3
            python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
            need node nodejs
            need npm npm
            ;;
        *) echo "packages.sh: unknown purpose $purpose (build, engine, test)" >&2; exit 2 ;;
    esac
done
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "These are missing, and there is no apt-get here to install them: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "These are missing; install them, or run this as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "Installing ${missing[*]} …"
log=$(mktemp)
# A package that starts its own service must not do so here.
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -20 "$log" >&2
    exit 1
fi
rm -f "$log"
