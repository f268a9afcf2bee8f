#!/usr/bin/env bash
# Traffic mirroring: what passes the links of acme and globex is copied into VXLAN, as a mirror
# session does, by the kernel's own mirroring; acme's to an interface, globex's to a load balancer.
. "$(dirname "$0")/lib.sh"
pattern traffic-mirroring

site acme 10.20.1.5
site globex 10.40.2.9
site payments 10.100.4.7
site reporting 10.101.0.7
site resolvers 10.53.0.2
site target 10.254.0.9
site balancer 10.254.0.19

# mirrored SITE TARGET ADDRESS VNI: both directions of a site's link, copied to a target.
mirrored() {
    local direction
    in_hub ip link set "$2" mtu 1600
    within "$2" ip link set eth0 mtu 1600
    in_hub ip link add "mirror-$4" type vxlan id "$4" local 10.254.0.1 remote "$3" dstport 4789 noudpcsum
    in_hub sysctl -qw "net.ipv6.conf.mirror-$4.disable_ipv6=1"
    in_hub ip link set "mirror-$4" mtu 1550 up
    in_hub tc qdisc add dev "$1" clsact
    for direction in ingress egress; do
        in_hub tc filter add dev "$1" "$direction" protocol ip u32 match u32 0 0 action mirred egress mirror dev "mirror-$4"
    done
}
in_hub ip addr add 10.254.0.1/32 dev lo
mirrored acme target 10.254.0.9 7
mirrored globex balancer 10.254.0.19 8

certificate server /CN=api.payments.example
web payments "$(tls 10.100.4.7:443)" "listen 10.100.4.7:80;"
quic_server payments 10.100.4.7 443
shell payments 10.100.4.7
web reporting "listen 10.101.0.7:8080;" "$(tls 10.101.0.7:443)"
web acme "$(tls 10.20.1.5:443)"
resolver resolvers 10.53.0.2 payments.example=10.100.4.7 reports.example=10.101.0.7
ready

# kept NAME SITE: ends the capture, and keeps the VXLAN in it as it came.
kept() {
    ended "$1"
    tcpdump -Z root -r "$work/$1-$2.pcap" -w "$captures/$1.pcap" 'udp dst port 4789' 2>/dev/null
}

capture acme target
ask acme 10.53.0.2 api.payments.example
fetch acme 10.100.4.7 https://api.payments.example/v1
fetch acme 10.100.4.7 --tls-max 1.2 https://token.api.payments.example/v1
quic acme 10.100.4.7 443 api.payments.example
fetch payments 10.20.1.5 https://hooks.acme.example/notify
ask acme 10.53.0.2 daily.reports.example
fetch acme 10.100.4.7 https://admin.payments.example/
fetch acme 10.100.4.7 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 https://old.api.payments.example/
fetch acme 10.100.4.7 http://api.payments.example/clear-text
quic acme 10.100.4.7 443 shadow.payments.example
secure_shell acme 10.100.4.7
fetch acme 10.101.0.7:8080 http://daily.reports.example/
fetch payments 10.20.1.5 https://paste.acme.example/
at acme ping -c 2 -W 1 10.100.4.7
kept acme target

capture globex balancer
fetch globex 10.101.0.7:8080 http://daily.reports.example/2026-11-20.csv
fetch globex 10.101.0.7:8080 http://payroll.reports.example/
fetch globex 10.101.0.7 https://daily.reports.example/
fetch globex 10.100.4.7 https://api.payments.example/
kept globex balancer
