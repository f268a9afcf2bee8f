#!/usr/bin/env bash
# In-line inspection in the DMZ VPC: acme and globex behind endpoints of their own, two small brokers
# in one zone behind one endpoint; workloads and resolvers behind the inspection.
. "$(dirname "$0")/lib.sh"
pattern inline-dmz

site acme 10.20.1.5 2001:db8:20::5
site globex 10.40.2.9
site brokers 10.60.0.4 10.61.0.4
site payments 10.100.4.7 2001:db8:100::7
site reporting 10.101.0.7
site resolvers 10.53.0.2

certificate server /CN=api.payments.example
web payments "listen 10.100.4.7:80;" "$(tls 10.100.4.7:443)" "$(tls '[2001:db8:100::7]:443')"
web reporting "listen 10.101.0.7:8080;" "$(tls 10.101.0.7:443)"
quic_server payments 10.100.4.7 443
resolver resolvers 10.53.0.2 payments.example=10.100.4.7 reports.example=10.101.0.7 tracker.example=192.0.2.9
shell payments 10.100.4.7
web acme "$(tls 10.20.1.5:443)"
ready

capture acme acme
ask acme 10.53.0.2 api.payments.example
ask acme 10.53.0.2 +tcp api.payments.example
fetch acme 10.100.4.7 https://api.payments.example/v1
fetch acme 10.100.4.7 --tls-max 1.2 https://token.api.payments.example/v1
fetch acme '[2001:db8:100::7]' https://api.payments.example/v6
quic acme 10.100.4.7 443 api.payments.example
fetch payments 10.20.1.5 https://hooks-eu.acme.example/notify
ask acme 10.53.0.2 daily.reports.example
ask acme 10.53.0.2 beacon.tracker.example
fetch acme 10.100.4.7 https://admin.payments.example/
fetch acme 10.100.4.7 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 https://old.api.payments.example/
at acme curl -sk --max-time 4 https://10.100.4.7/
fetch acme 10.100.4.7 http://api.payments.example/
quic acme 10.100.4.7 443 shadow.payments.example
fetch acme 10.101.0.7 https://daily.reports.example/
secure_shell acme 10.100.4.7
at acme ping -c 2 -W 1 10.100.4.7
at acme curl -sk --max-time 2 --connect-to ::10.40.2.9: https://api.globex.example/
fetch payments 10.20.1.5 https://drop.acme.example/
wrapped acme acme vpce-00a11ce0000000001

capture globex globex
ask globex 10.53.0.2 daily.reports.example
fetch globex 10.101.0.7:8080 http://daily.reports.example/2026-11-20.csv
fetch globex 10.101.0.7 https://daily.reports.example/2026-11-20.csv
ask globex 10.53.0.2 api.payments.example
fetch globex 10.101.0.7:8080 http://weekly.reports.example/a --next -s -H 'Host: payroll.reports.example' \
    --connect-to ::10.101.0.7:8080 http://weekly.reports.example/b
fetch globex 10.101.0.7:8080 http://payroll.reports.example/
fetch globex 10.100.4.7 https://api.payments.example/v1
at globex nc -w 2 10.101.0.7 8080
wrapped globex globex vpce-00b0b000000000001

capture brokers brokers
fetch brokers 10.100.4.7 --interface 10.60.0.4 https://quotes.payments.example/
fetch brokers 10.100.4.7 --interface 10.61.0.4 https://orders.payments.example/
fetch brokers 10.100.4.7 --interface 10.61.0.4 https://quotes.payments.example/
fetch brokers 10.100.4.7 --interface 10.60.0.4 https://orders.payments.example/
wrapped brokers brokers vpce-00c0c000000000001
