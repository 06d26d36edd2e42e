#!/usr/bin/env bash
# Puts the binaries, completions and the systemd unit in place, and says what it did.
#
# install.sh BIN_DIR; PREFIX (default /usr/local) and DESTDIR are honoured. With DESTDIR nothing is enabled or started.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:?usage: install.sh BIN_DIR}
prefix=${PREFIX:-/usr/local}
dest=${DESTDIR:-}
bindir=$prefix/bin
# Outside PREFIX: systemd looks here, and not below every prefix.
unitdir=/etc/systemd/system

put() { # mode, source, target
    install -D -m "$1" "$2" "$dest$3"
    echo "installed $dest$3"
}

for program in skiff ctl; do
    if [ ! -x "$bin/$program" ]; then
        echo "$bin/$program is not there. Run \`make build\` first." >&2
        exit 1
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for program in skiff ctl; do
    put 755 "$bin/$program" "$bindir/$program"
    for shell in bash zsh fish; do
        "$bin/$program" completion "$shell" >"$work/$program.$shell"
    done
    put 644 "$work/$program.bash" "$prefix/share/bash-completion/completions/$program"
    put 644 "$work/$program.zsh" "$prefix/share/zsh/site-functions/_$program"
    put 644 "$work/$program.fish" "$prefix/share/fish/vendor_completions.d/$program.fish"
done
sed "s|@BINDIR@|$bindir|" packaging/skiff.service >"$work/skiff.service"
put 644 "$work/skiff.service" "$unitdir/skiff.service"

if [ -n "$dest" ]; then
    echo "DESTDIR is set: skiff.service was not enabled."
elif [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable skiff.service
    echo "enabled skiff.service; start it now with: systemctl start skiff"
elif command -v systemctl >/dev/null; then
    systemctl enable skiff.service
    echo "enabled skiff.service; it starts when systemd next does"
else
    echo "No systemd here: start the cluster with: $bindir/skiff up"
fi
