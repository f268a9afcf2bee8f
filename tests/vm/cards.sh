#!/bin/bash
# In a virtual machine: the tests of tests/netns over two cards joined by a cable instead of a veth pair,
# the gateway's with the MAC address 02:00:00:00:0a:01, the target's with 02:00:00:00:0a:02.
#   cards.sh TEST-BINARY [FILTER...]
set -uo pipefail
binary=$1
shift
# Where tests write; the project itself can only be read here.
mkdir -p target/tmp 2>/dev/null
mount -t tmpfs none target/tmp
places=()
for end in 01 02; do
    # Its driver may still be on its way.
    for _ in $(seq 60); do
        grep -q "^02:00:00:00:0a:$end" /sys/class/net/*/address && break
        sleep 1
    done
    udevadm settle
    name=$(grep -l "^02:00:00:00:0a:$end" /sys/class/net/*/address | cut -d/ -f5) || exit 1
    place=$(realpath "/sys/class/net/$name/device")
    place=${place%/virtio*}
    places+=("${place##*/}")
    echo "${places[-1]}: $name, $(ethtool -i "$name" | sed -n 's/^driver: //p'), Linux $(uname -r)"
done
ethtool -l "$name" | tail -n 5
ethtool -k "$name" | grep -E '^(rx-checksumming|rx-vlan-offload|rx-vlan-filter|generic-receive-offload|large-receive-offload)'
export LOCKGATE_CARDS=${places[0]},${places[1]} RUST_BACKTRACE=0
"$binary" --test-threads=1 --nocapture "$@"
code=$?
dmesg | grep -iE 'xdp|xsk|warning:|bug:' | tail -n 20
exit $code
