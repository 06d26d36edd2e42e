#!/usr/bin/env bash
# Boots systemd as the first process of a machine whose disk is the folder DISK and whose programs are this machine's.
# Another boot of the same DISK is that machine after a reboot. The network is the caller's.
#
# boot.sh DISK GROUP: control groups are below GROUP in each hierarchy; DISK/pid is the first process, as seen from here.
set -euo pipefail

# Beside us, so that the caller sees only the end of the first process: a child, for a process cannot enter the
# namespace of processes that it makes.
inside() {
    disk=$1 root=$1/root
    # The old /proc still tells this process's number outside.
    read -r pid _ </proc/self/stat
    mount --make-rprivate /
    mount --bind "$root" "$root"
    # The hierarchies of this machine, whichever version they have, each from our group on.
    groups=$(awk '($3 == "cgroup" || $3 == "cgroup2") && !seen[$2]++ { print $2, $3, $4 }' /proc/mounts)
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    [ "$(wc -l <<<"$groups")" -eq 1 ] || mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
    while read -r where kind options; do
        mkdir -p "$root$where"
        # Of the options those that name the hierarchy.
        mount -t "$kind" -o "$(tr , '\n' <<<"$options" | grep -vE '^(rw|ro|relatime|noatime|nosuid|nodev|noexec)$' |
            sed 's/^name=/none,name=/' | paste -sd , | grep . || echo rw)" cgroup "$root$where"
    done <<<"$groups"
    mount -t tmpfs tmpfs "$root/dev"
    for node in null zero full random urandom tty; do
        touch "$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount -t tmpfs tmpfs "$root/run"
    for folder in usr bin sbin lib lib32 lib64 libx32 lib/modules; do
        [ -d "/$folder" ] && [ ! -L "/$folder" ] || continue
        mkdir -p "$root/$folder"
        mount --rbind "/$folder" "$root/$folder"
    done
    mount --bind "$(cat "$disk/source")" "$root/source"
    mount --bind "$(cat "$disk/built")" "$root/built"
    cd "$root"
    mkdir -p old
    pivot_root . old
    echo "$pid" >"/old$disk/pid"
    umount -l /old
    exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=multi-user.target --log-target=console
}

if [ "${1:-}" = inside ]; then
    inside "$2"
fi
disk=$1 group=$2
while read -r _ where kind _; do
    case $kind in cgroup | cgroup2) ;; *) continue ;; esac
    mkdir -p "$where/$group"
    # A group of processors has none at first.
    for file in cpuset.cpus cpuset.mems; do
        [ "$kind" = cgroup2 ] || [ ! -f "$where/$group/$file" ] || cat "$where/$file" >"$where/$group/$file"
    done
    echo $$ >"$where/$group/cgroup.procs"
done </proc/mounts
exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child "$0" inside "$disk"
