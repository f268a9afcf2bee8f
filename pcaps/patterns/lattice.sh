#!/usr/bin/env bash
# VPC Lattice: nothing can be put between a consumer and a resource gateway. The two ways round it:
# the workload's traffic inspected before it enters Lattice, and a proxy as the resource, with the
# inspection behind it.
. "$(dirname "$0")/lib.sh"
pattern lattice

# Out: the endpoints of the partners' resources in our own VPC.
site resources 10.99.2.10 10.99.2.20
# In: what comes out of the resource gateway, the proxy it points at, and the workload.
site gateway 10.98.1.4
site proxy 10.97.1.4 10.97.1.11 10.97.1.12
site payments 10.100.4.7
site reporting 10.101.0.7

certificate server /CN=api.payments.example
web resources "$(tls 10.99.2.10:443)" "$(tls 10.99.2.20:443)" "listen 10.99.2.20:8080;"
behind resources nc -lk 10.99.2.10 5432
web payments "$(tls 10.100.4.7:443)" "listen 10.100.4.7:80;"
web reporting "$(tls 10.101.0.7:443)"
# One resource configuration, and so one port of the proxy and one address towards the inspection,
# for each partner.
cat >"$work/proxy.cfg" <<CONF
defaults
 mode tcp
 timeout client 9s
 timeout connect 9s
 timeout server 9s
listen acme
 bind 10.97.1.4:1443
 source 10.97.1.11
 server payments 10.100.4.7:443
listen acme-clear
 bind 10.97.1.4:1080
 source 10.97.1.11
 server payments 10.100.4.7:80
listen acme-reporting
 bind 10.97.1.4:1444
 source 10.97.1.11
 server reporting 10.101.0.7:443
listen globex
 bind 10.97.1.4:2443
 source 10.97.1.12
 server payments 10.100.4.7:443
CONF
behind proxy haproxy -db -f "$work/proxy.cfg"
ready

capture before payments
fetch payments 10.99.2.10 https://ledger.acme.example/
at payments bash -c 'echo query | nc -w 1 10.99.2.10 5432'
fetch payments 10.99.2.20:8080 http://status.globex.example/
fetch payments 10.99.2.10 https://ledger.globex.example/
fetch payments 10.99.2.20 https://ledger.acme.example/
at payments bash -c 'echo query | nc -w 1 10.99.2.20 5432'
fetch payments 10.99.2.20:8080 http://10.99.2.20/
wrapped before payments vpce-00e0e000000000001

capture behind payments
fetch gateway 10.97.1.4:1443 https://api.payments.example/acme
fetch gateway 10.97.1.4:1443 --tls-max 1.2 https://token.payments.example/acme
fetch gateway 10.97.1.4:2443 https://quotes.payments.example/globex
fetch gateway 10.97.1.4:1443 https://quotes.payments.example/not-acmes
fetch gateway 10.97.1.4:2443 https://api.payments.example/not-globexs
fetch gateway 10.97.1.4:1080 http://api.payments.example/
fetch gateway 10.97.1.4:1443 https://10.100.4.7/
fetch proxy 10.100.4.7 --interface 10.97.1.4 https://api.payments.example/the-proxy-itself
wrapped behind payments vpce-00f0f000000000001
