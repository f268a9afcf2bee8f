#!/usr/bin/env bash
# Ingress over PrivateLink: consumers of three partners behind one NLB with PROXY protocol v2, and
# what somebody else's header, no header and a header from elsewhere look like.
. "$(dirname "$0")/lib.sh"
pattern ingress-privatelink

site nlb 10.99.1.10
site payments 10.100.4.7 10.100.4.8 10.100.4.53
site batch 10.102.0.9

certificate server /CN=api.payments.example
web payments "listen 10.100.4.7:8080 proxy_protocol;"
proxy payments "bind 10.100.4.7:443 accept-proxy ssl crt $work/both.pem" "bind 10.100.4.7:8090 accept-proxy"
behind payments "$python" "$here/target.py" 10.100.4.8:443 "$work/server.pem" "$work/server.key"
cat >"$work/unbound.conf" <<CONF
server:
  interface: 10.100.4.53@53
  proxy-protocol-port: 53
  access-control: 0.0.0.0/0 allow
  use-syslog: no
  username: ""
  chroot: ""
  directory: "$work"
  pidfile: ""
  do-daemonize: no
  local-zone: "payments.example." redirect
  local-data: "payments.example. A 10.100.4.7"
  local-zone: "." refuse
CONF
behind payments unbound -d -c "$work/unbound.conf"
shell payments 10.100.4.7

# One listener in the NLB's namespace for each consumer endpoint; clients reach it over loopback,
# as PrivateLink's own network is on nobody's wire.
acme=vpce-0acacacacacacac01 globex=vpce-0bebebebebebebe01 initech=vpce-0ddddddddddddddd1
nlb() { behind nlb "$python" "$here/nlb.py" "$@"; }
nlb 127.0.0.1:1443 10.99.1.10 10.100.4.7:443 $acme
nlb 127.0.0.2:1443 10.99.1.10 10.100.4.7:443 $globex
nlb 127.0.0.3:1443 10.99.1.10 10.100.4.7:443 $initech
nlb 127.0.0.1:2443 10.99.1.10 10.100.4.8:443 $acme --split 7
nlb 127.0.0.1:1053 10.99.1.10 10.100.4.53:53 $acme --udp
nlb 127.0.0.2:1053 10.99.1.10 10.100.4.53:53 $globex --udp
nlb 127.0.0.3:1053 10.99.1.10 10.100.4.53:53 $initech --udp
nlb 127.0.0.1:3443 10.99.1.10 10.100.4.7:443 $acme --wrong-sum
nlb 127.0.0.1:4443 10.99.1.10 10.100.4.7:443 headerless
nlb 127.0.0.1:5443 10.99.1.10 10.100.4.7:443 none
nlb 127.0.0.1:8080 10.99.1.10 10.100.4.7:8080 $acme
nlb 127.0.0.2:8080 10.99.1.10 10.100.4.7:8080 $globex
nlb 127.0.0.1:1022 10.99.1.10 10.100.4.7:22 $acme
# A consumer of globex that sends a header of acme's in its own bytes.
nlb 127.0.0.9:1443 127.0.0.1 127.0.0.2:1443 $acme
# A workload that claims to be acme: its headers are not believed.
behind batch "$python" "$here/nlb.py" 127.0.0.1:1443 10.102.0.9 10.100.4.7:443 $acme
ready

capture nlb nlb
fetch nlb 127.0.0.1:1443 https://api.payments.example/acme
fetch nlb 127.0.0.2:1443 https://reports.payments.example/globex
fetch nlb 127.0.0.1:2443 https://split.api.payments.example/acme
fetch nlb 127.0.0.1:8080 http://status.payments.example/acme
fetch nlb 127.0.0.2:8080 http://status.payments.example/globex
at nlb "$python" "$here/nlb.py" --check 10.99.1.10 10.100.4.7:8090
ask nlb 127.0.0.1 -p 1053 api.payments.example
ask nlb 127.0.0.1 -p 1053 beacon.tracker.example
ask nlb 127.0.0.2 -p 1053 api.payments.example
ask nlb 127.0.0.3 -p 1053 unknown.payments.example
at nlb ping -c 1 -W 1 10.100.4.7
fetch nlb 127.0.0.1:1443 https://reports.payments.example/not-acmes
fetch nlb 127.0.0.2:1443 https://api.payments.example/not-globexs
fetch nlb 127.0.0.3:1443 https://unknown.api.payments.example/initech
fetch nlb 127.0.0.1:3443 https://wrong-sum.api.payments.example/acme
fetch nlb 127.0.0.1:4443 https://headerless.api.payments.example/
fetch nlb 127.0.0.1:5443 https://nobody.api.payments.example/
fetch nlb 127.0.0.9:1443 https://second.api.payments.example/globex-as-acme
at nlb "$python" "$here/nlb.py" --check 10.99.1.10 10.100.4.7:443
secure_shell nlb 127.0.0.1 -p 1022
wrapped nlb nlb vpce-00d0d000000000001

capture forged batch
fetch batch 127.0.0.1:1443 https://forged.api.payments.example/batch
at batch "$python" "$here/nlb.py" --check 10.102.0.9 10.100.4.7:8090
wrapped forged batch vpce-00d0d000000000001
