#!/usr/bin/env bash
# Makes the captures of this folder again: real programs in network namespaces, captured on the
# wire between them, wrapped as GWLB wraps them by `lockgate wrap`. Needs root, and the Debian
# packages iproute2 tcpdump curl openssl nginx-light dnsmasq bind9-dnsutils openssh-server ethtool.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
partner=lg-partner
bank=lg-bank
lockgate=${LOCKGATE:-../target/debug/lockgate}

cleanup() {
    [ -f "$work/pids" ] && xargs -r kill <"$work/pids" 2>/dev/null || true
    ip netns del "$partner" 2>/dev/null || true
    ip netns del "$bank" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

ip netns add "$partner"
ip netns add "$bank"
ip link add lg0 netns "$partner" type veth peer name lg1 netns "$bank"
ip -n "$partner" addr add 10.20.1.5/8 dev lg0
ip -n "$bank" addr add 10.100.4.7/8 dev lg1
ip -n "$bank" addr add 10.101.0.7/8 dev lg1
ip -n "$bank" addr add 10.53.0.2/8 dev lg1
for side in "$partner lg0" "$bank lg1"; do
    read -r ns dev <<<"$side"
    # Offload would leave checksums unmade in the capture.
    ip netns exec "$ns" ethtool -K "$dev" tx off rx off tso off gso off gro off >/dev/null
    ip -n "$ns" link set lo up
    ip -n "$ns" link set "$dev" up
done

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj /CN=api.payments.example -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
mkdir "$work/www" && echo '{"status":"ok"}' >"$work/www/index.html"
cat >"$work/nginx.conf" <<CONF
worker_processes 1; pid $work/nginx.pid; error_log $work/error.log;
events {}
http {
  access_log off; root $work/www;
  client_body_temp_path $work/b; proxy_temp_path $work/p; fastcgi_temp_path $work/f;
  uwsgi_temp_path $work/u; scgi_temp_path $work/s;
  server { listen 10.100.4.7:80; }
  server { listen 10.100.4.7:443 ssl; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem; }
}
CONF
chmod 755 "$work" "$work/www"
ip netns exec "$bank" nginx -c "$work/nginx.conf"
echo "$(cat "$work/nginx.pid")" >>"$work/pids"
ip netns exec "$bank" dnsmasq --no-daemon --no-resolv --no-hosts --listen-address=10.53.0.2 \
    --bind-interfaces --address=/payments.example/10.100.4.7 --address=/tracker.example/192.0.2.9 \
    >/dev/null 2>&1 &
echo $! >>"$work/pids"
ssh-keygen -q -t ed25519 -N '' -f "$work/host"
mkdir -p /run/sshd
ip netns exec "$bank" /usr/sbin/sshd -f /dev/null -o HostKey="$work/host" -o PidFile="$work/sshd.pid" \
    -o ListenAddress=10.100.4.7
sleep 0.5
cat "$work/sshd.pid" >>"$work/pids"

ip netns exec "$partner" tcpdump -i lg0 -w "$work/raw.pcap" -U -s 0 ip 2>/dev/null &
dump=$!
sleep 1

say() { ip netns exec "$partner" timeout 5 "$@" >/dev/null 2>&1 || true; }
to_bank() { say curl -sk --max-time 3 --connect-to "::10.100.4.7:" "$@"; }
say dig @10.53.0.2 api.payments.example
say dig @10.53.0.2 +tcp auth.tokens.payments.example
say dig @10.53.0.2 www.tracker.example
to_bank https://api.payments.example/
to_bank --tls-max 1.2 https://auth.tokens.payments.example/
to_bank --tls-max 1.1 --ciphers 'DEFAULT@SECLEVEL=0' https://api.payments.example/old
to_bank https://admin.payments.example/
to_bank https://evil.example/
say curl -sk --max-time 3 https://10.100.4.7/
to_bank http://api.payments.example/
say ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null 10.100.4.7 true
say ping -c 2 -W 1 10.100.4.7
sleep 1
kill "$dump"
wait "$dump" 2>/dev/null || true

"$lockgate" wrap "$work/raw.pcap" partner-dmz.pcap --endpoint vpce-0a1b2c3d4e5f60718
