#!/usr/bin/env bash
# Ingress over Direct Connect and Site-to-Site VPN: acme's data centre and globex's VPC use the same
# addresses, each behind an endpoint of its own; initech's branches share one attachment (CloudHub).
. "$(dirname "$0")/lib.sh"
pattern ingress-onprem

site acme 10.20.1.5 10.20.9.9
site globex 10.20.1.5
site initech 172.20.1.10 172.20.2.10 172.20.3.10 172.20.9.10
site payments 10.100.4.7
site transfer 10.103.0.22
site collectors 10.53.7.14

certificate server /CN=api.payments.example
web payments "$(tls 10.100.4.7:443)"
shell transfer 10.103.0.22
behind transfer nc -lk 10.103.0.22 1414
behind collectors nc -luk 10.53.7.14 514
web transfer "$(tls 10.103.0.22:443)"
ready

say_syslog() { at initech bash -c "echo '<134>branch: up' | nc -u -w 1 -s $1 10.53.7.14 ${2:-514}"; }

capture acme acme
moved 10.20.1.5 acme
fetch acme 10.100.4.7 https://api.payments.example/acme
fetch acme 10.100.4.7 --tls-max 1.2 https://batch.payments.example/acme
secure_shell acme 10.103.0.22 -b 10.20.9.9
fetch acme 10.100.4.7 https://quotes.payments.example/globex-only
fetch acme 10.100.4.7:443 http://api.payments.example/clear-text-on-443
secure_shell acme 10.103.0.22 -b 10.20.1.5
at acme bash -c 'echo hello | nc -w 1 -s 10.20.9.9 10.103.0.22 1414'
fetch acme 10.103.0.22 https://transfer.payments.example/
at acme ping -c 2 -W 1 10.103.0.22
wrapped acme acme vpce-00a11ce0000000001

capture globex globex
moved 10.20.1.5 globex
fetch globex 10.100.4.7 https://quotes.payments.example/globex
fetch globex 10.100.4.7 https://api.payments.example/acme-only
secure_shell globex 10.103.0.22
wrapped globex globex vpce-00b0b000000000001

capture initech initech
fetch initech 10.100.4.7 --interface 172.20.1.10 https://tills.payments.example/one
fetch initech 10.100.4.7 --interface 172.20.2.10 https://tills.payments.example/two
say_syslog 172.20.1.10
say_syslog 172.20.3.10
fetch initech 10.100.4.7 --interface 172.20.3.10 https://tills.payments.example/three
fetch initech 10.100.4.7 --interface 172.20.9.10 https://tills.payments.example/no-branch
fetch initech 10.100.4.7 --interface 172.20.1.10 https://api.payments.example/acme-only
say_syslog 172.20.1.10 515
secure_shell initech 10.103.0.22 -b 172.20.1.10
wrapped initech initech vpce-00c0c000000000001
