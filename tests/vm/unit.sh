#!/bin/bash
# In a virtual machine: the package under a real systemd. Says what it saw, line by line, for tests/vm.rs.
#   unit.sh PACKAGE CAPTURE
set -uo pipefail
said() { echo "== $*"; }
fail() { echo "FAILED: $*"; journalctl -u lockgate --no-pager -o cat | tail -n 40; exit 1; }
property() { systemctl show lockgate --property="$1" --value; }
journal() { journalctl -u lockgate --no-pager -o cat --since "$began" --grep "$1" >/dev/null 2>&1; }
within() { # SECONDS COMMAND...
    local seconds=$1
    shift
    for _ in $(seq "$((seconds * 5))"); do
        if "$@"; then return 0; fi
        sleep 0.2
    done
    return 1
}
health() { curl -s -m 5 -o /tmp/health -w '%{http_code}' http://10.99.0.2:8080/health; }
began=$(date '+%F %T')
mount -t tmpfs none /mnt

ip netns add gateway
ip link add eth7 address 02:00:00:00:00:02 type veth \
    peer name gw0 netns gateway address 02:00:00:00:00:01
ip addr add 10.99.0.2/28 dev eth7
ip link set eth7 mtu 9001 up
ip -n gateway addr add 10.99.0.1/28 dev gw0
ip -n gateway link set gw0 mtu 9001 up

dpkg -i "$1" >/mnt/dpkg 2>&1 || { cat /mnt/dpkg; fail "dpkg -i"; }
said "installed: $(systemctl is-enabled lockgate), $(systemctl is-active lockgate)"
cp -r /usr/share/doc/lockgate/examples/partner-dmz /etc/lockgate/ruleset
sed -i -e 's/^interface: .*/interface: eth7/' -e 's/deadline: 300s/deadline: 6s/' /etc/lockgate/appliance.yaml

# A configuration that is wrong: refused before it starts, with its place.
sed -i 's/^health:/healthy:/' /etc/lockgate/appliance.yaml
systemctl start lockgate 2>/dev/null && fail "it started with a wrong configuration"
journal 'appliance.yaml:[0-9]' || fail "the journal tells no place"
said "a wrong configuration does not start, and the journal tells where it is wrong"
sed -i 's/^healthy:/health:/' /etc/lockgate/appliance.yaml
systemctl stop lockgate
systemctl reset-failed lockgate

systemctl start lockgate || fail "start"
first=$(property MainPID)
said "started: $(property ActiveState) ($(property SubState)), $(property StatusText)"
systemctl status lockgate --no-pager -l | head -n 20
systemctl status lockgate --no-pager | grep -q 'active (running)' || fail "status"
[ "$(health)" = 200 ] || fail "health"
said "healthy: 200"
journalctl -u lockgate --no-pager -o cat --since "$began" | grep -i 'sandbox\|backend\|serving'
journal 'sandbox' && fail "part of the sandbox is missing"
ip netns exec gateway python3 "$(dirname "$0")/../packaging/gateway.py" gw0 "$2" 1 || fail "no frame came back"
said "a frame comes back"
systemd-analyze security lockgate --no-pager | tail -n 80
said "exposure: $(systemd-analyze security lockgate --no-pager | sed -n 's/.*Overall exposure level for lockgate.service: \([0-9.]*\) \([A-Z]*\).*/\1 \2/p')"
grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$first/status"

# Twice the watchdog's time.
sleep 22
[ "$(property MainPID)" = "$first" ] && [ "$(property NRestarts)" = 0 ] || fail "it was restarted"
said "the watchdog is kept"

systemctl reload lockgate || fail "reload"
within 20 journal 'installed' || fail "no reload in the journal"
said "reloaded by systemctl"
kill -HUP "$first"
within 20 eval '[ "$(journalctl -u lockgate -o cat --since "$began" --grep installed | wc -l)" -ge 2 ]' ||
    fail "no reload by SIGHUP"
said "reloaded by SIGHUP"
cp /etc/lockgate/ruleset/lockgate.yaml /mnt/good
sed -i 's/^policies:/polices:/' /etc/lockgate/ruleset/lockgate.yaml
if systemctl reload lockgate 2>/mnt/error; then refused=no; else refused=yes; fi
within 20 journal 'refused' || fail "a wrong ruleset is not told"
[ "$(health)" = 200 ] || fail "a wrong ruleset makes it unhealthy"
cat /tmp/health
[ "$(property MainPID)" = "$first" ] || fail "a wrong ruleset ended it"
ip netns exec gateway python3 "$(dirname "$0")/../packaging/gateway.py" gw0 "$2" 1 || fail "no frame came back"
said "a wrong ruleset: reload fails ($refused), health says so ($(grep -c refused /tmp/health)), the old one serves"
cp /mnt/good /etc/lockgate/ruleset/lockgate.yaml
systemctl reload lockgate || fail "reload of the good one"

# Flows of which records are kept; some are answered otherwise than by coming back.
ip netns exec gateway python3 "$(dirname "$0")/../packaging/gateway.py" gw0 "$2" 40
lockgate ctl flush --all >/dev/null || fail "flush"
within 20 [ -s /var/log/lockgate/flows.json ] || fail "no record"
logrotate --force /etc/logrotate.d/lockgate || fail "logrotate"
within 20 journal 'flow log opened again' || fail "it does not follow its log"
said "its log is rotated: $(stat -c '%U:%G %a' /var/log/lockgate/flows.json), folder $(stat -c '%U:%G %a' /var/log/lockgate)"

# The package again, as an upgrade: the process stays.
dpkg -i "$1" >/mnt/dpkg 2>&1 || { cat /mnt/dpkg; fail "upgrade"; }
[ "$(property MainPID)" = "$first" ] && [ "$(health)" = 200 ] || fail "the upgrade touched it"
said "an upgrade leaves it running"

kill -STOP "$first"
within 40 eval '[ "$(property MainPID)" != "$first" ] && [ "$(health)" = 200 ]' || fail "nobody woke it"
second=$(property MainPID)
[ "$second" != 0 ] && [ "$(property NRestarts)" = 1 ] || fail "restarts: $(property NRestarts)"
journal 'Watchdog timeout' || fail "no watchdog in the journal"
said "stopped, it is restarted by the watchdog"
kill -KILL "$second"
within 40 eval '[ "$(property MainPID)" != "$second" ] && [ "$(health)" = 200 ]' || fail "killed for good"
said "killed, it is restarted"

# With a flow: until the deadline. Without: as soon as a load balancer can have noticed.
ip netns exec gateway python3 "$(dirname "$0")/../packaging/gateway.py" gw0 "$2" 1 || fail "no frame came back"
systemctl stop lockgate || fail "stop"
journal 'draining' || fail "no drain in the journal"
journalctl -u lockgate --no-pager -o cat --since "$began" | tail -n 6
said "stopped: $(property ActiveState), $(property Result)"
systemctl start lockgate || fail "start again"
dpkg -r lockgate >/mnt/dpkg 2>&1 || { cat /mnt/dpkg; fail "removal"; }
[ "$(systemctl is-active lockgate)" = inactive ] && ! pgrep -x lockgate >/dev/null || fail "it runs on"
said "removed: it ended, configuration $([ -e /etc/lockgate/appliance.yaml ] && echo kept || echo gone)"
dpkg -P lockgate >/mnt/dpkg 2>&1 || { cat /mnt/dpkg; fail "purge"; }
said "purged: $(ls -d /etc/lockgate /usr/bin/lockgate /usr/lib/systemd/system/lockgate.service 2>/dev/null | wc -l) of its own left"
