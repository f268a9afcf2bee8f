#!/bin/bash
# Runs the image of deploy/Dockerfile as its head says: asks its version, replays a capture, and serves as
# a target between namespaces. Started in new mount and network namespaces; says what it saw, line by
# line, for tests/packaging.rs.
#   container.sh IMAGE FOLDER PODMAN...
set -euo pipefail
image=$1 folder=$2
shift 2
podman=("$@")
project=$(realpath "$(dirname "$0")/../..")
said() { echo "== $*"; }
fail() { echo "FAILED: $*"; cat "$folder/log" 2>/dev/null; exit 1; }
trap '"${podman[@]}" rm --force --time 0 lockgate-test >/dev/null 2>&1 || true' EXIT
# What crun cannot do without systemd: cgroups of both versions, limits above ours, timers.
mount --make-rprivate /
mount -t sysfs none /sys
mount -t cgroup2 none /sys/fs/cgroup
limits=(--cgroups=disabled --ulimit nofile=1024:4096 --ulimit nproc=1024:4096 --no-healthcheck)

said "$("$@" run --rm "${limits[@]}" --network none --cap-drop ALL --read-only "$image" --version)"
verdicts=$("$@" run --rm "${limits[@]}" --network none --cap-drop ALL --read-only -v "$project:/data:ro" -v "$folder/wrapped.pcap:/wrapped.pcap:ro" "$image" \
    replay /data/rulesets/partner-dmz /wrapped.pcap)
said "replays: $(grep -m 1 'flows' <<<"$verdicts")"

ip link set lo up
ip link add eth7 address 02:00:00:00:00:02 type veth peer name gw0 address 02:00:00:00:00:01
ip addr add 10.99.0.2/28 dev eth7
ip link set eth7 mtu 9001 up
ip link set gw0 mtu 9001 up
rm -rf "$folder/etc" "$folder/log.d"
mkdir "$folder/etc" "$folder/log.d"
cp -r "$project/rulesets/partner-dmz" "$folder/etc/ruleset"
sed 's/^interface: .*/interface: eth7/' "$project/deploy/appliance.yaml" >"$folder/etc/appliance.yaml"
chown 65532:65532 "$folder/log.d"

# The options at the head of the Dockerfile.
options=$(sed -n '/^#   docker run --network host/,/^# Everything/s/^# *//p' "$project/deploy/Dockerfile" |
    tr -d '\\\n' | sed -e 's/^docker run//' -e 's/lockgateEverything.*//' \
    -e "s#/etc/lockgate:#$folder/etc:#" -e "s#/var/log/lockgate:#$folder/log.d:#")
# Without CAP_SYS_RESOURCE no limit can be raised: AF_XDP's memory may be too large then.
if [ "$(ulimit -Hl)" != unlimited ]; then
    options=${options/memlock=-1/memlock=$(($(ulimit -Hl) * 1024))}
    echo "memory may be locked up to $(ulimit -Hl) KiB only"
fi
# shellcheck disable=SC2086
"$@" run --rm --replace --name lockgate-test "${limits[@]}" $options "$image" >"$folder/log" 2>&1 &
for _ in $(seq 300); do
    [ "$(curl -s -m 2 -o /dev/null -w '%{http_code}' http://10.99.0.2:8080/health)" = 200 ] && break
    sleep 0.2
done
said "healthy: $(curl -s -m 2 -o /dev/null -w '%{http_code}' http://10.99.0.2:8080/health)"
grep -o 'backend":"[^"]*' "$folder/log" | sed 's/^/   /'
python3 "$project/tests/packaging/gateway.py" gw0 "$folder/wrapped.pcap" 1 || fail "no frame came back"
said "a frame comes back"
process=$("$@" inspect lockgate-test --format '{{.State.Pid}}')
word() { sed -n "s/^$1:\t\([0-9a-f]*\).*/\1/p" "/proc/$process/status"; }
said "user $(word Uid), capabilities $(word CapEff), at most $(word CapBnd)"
# What HEALTHCHECK runs, with what the container has, and what an operator would.
status=$("$@" exec lockgate-test /usr/bin/lockgate ctl status) || fail "status"
said "asked: $(grep -o '^healthy' <<<"$status")"
reload=$("$@" exec lockgate-test /usr/bin/lockgate ctl reload) || fail "reload"
said "reload: $(grep -o '^installed' <<<"$reload")"
# The second one ends the drain.
"$@" kill --signal TERM lockgate-test >/dev/null
sleep 1
"$@" kill --signal TERM lockgate-test >/dev/null 2>&1 || true
wait %1 || fail "it did not leave well"
said "left"
