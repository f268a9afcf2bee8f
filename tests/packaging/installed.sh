#!/bin/bash
# Installs a package in a copy of this system that is gone afterwards, runs what it installed with the
# capabilities given, each set in turn, removes it. Started in new mount, network and process
# namespaces; says what it has done, line by line, for tests/packaging.rs.
#   installed.sh PACKAGE FOLDER CAPABILITIES...
set -euo pipefail
package=$1 folder=$2
shift 2
mount -t tmpfs none "$folder"
mkdir "$folder"/{changes,work,root}
mount -t overlay overlay \
    -o "lowerdir=/,upperdir=$folder/changes,workdir=$folder/work" "$folder/root"
mount --bind /dev "$folder/root/dev"
mount -t proc proc "$folder/root/proc"
mount -t tmpfs none "$folder/root/run"
cp "$package" "$folder/root/lockgate.deb"

ip link set lo up
ip link add eth7 type veth peer name gateway
ip addr add 10.99.0.2/28 dev eth7
ip link set eth7 mtu 9001 up
ip link set gateway mtu 9001 up

cat >"$folder/root/inside.sh" <<'INSIDE'
set -euo pipefail
said() { echo "== $*"; }
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
dpkg -i /lockgate.deb >/dpkg.log 2>&1 || { cat /dpkg.log; exit 1; }
said "installed, user $(id -un lockgate), log folder $(stat -c '%U:%G %a' /var/log/lockgate)"
# What an operator does.
cp -r /usr/share/doc/lockgate/examples/partner-dmz /etc/lockgate/ruleset
sed -i 's/^interface: .*/interface: eth7/' /etc/lockgate/appliance.yaml
lockgate run --check --config /etc/lockgate/appliance.yaml >/dev/null
# What systemd does.
install -d -m 0755 /run/lockgate
umask 0027
for capabilities in "$@"; do
    setpriv --no-new-privs --bounding-set "$capabilities" \
        lockgate run --config /etc/lockgate/appliance.yaml 2>/log &
    process=$!
    for _ in $(seq 600); do
        lockgate ctl status >/status 2>/dev/null && break
        kill -0 "$process" || { cat /log; exit 1; }
        sleep 0.1
    done
    grep -q '^healthy' /status || { cat /log /status; exit 1; }
    said "serves, $(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$process/status" | xargs id -un), \
capabilities $(sed -n 's/^CapEff:\t\(.*\)/\1/p' "/proc/$process/status")"
    # As a unit's ExecReload, or within a container: a root that is not above permissions.
    setpriv --no-new-privs --bounding-set -all,+setuid,+setgid lockgate ctl reload >/reload ||
        { cat /log; exit 1; }
    said "reloads, asked by a root without rights"
    # As deploy/logrotate does.
    mv /var/log/lockgate/flows.json /var/log/lockgate/flows.json.1
    kill -USR1 "$process"
    for _ in $(seq 600); do
        [ -e /var/log/lockgate/flows.json ] && break
        sleep 0.1
    done
    said "follows its log, $(stat -c '%U:%G %a' /var/log/lockgate/flows.json)"
    kill -TERM "$process"
    wait "$process" || { cat /log; exit 1; }
    said "left"
done
dpkg -r lockgate >/dpkg.log 2>&1 || { cat /dpkg.log; exit 1; }
[ ! -e /usr/bin/lockgate ] && [ -e /etc/lockgate/appliance.yaml ]
said "removed, its configuration is kept"
dpkg -P lockgate >/dpkg.log 2>&1 || { cat /dpkg.log; exit 1; }
[ ! -e /etc/lockgate/appliance.yaml ]
said "purged"
INSIDE
chroot "$folder/root" /bin/bash /inside.sh "$@"
