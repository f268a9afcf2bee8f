#!/usr/bin/env bash
# Egress over Direct Connect or VPN: workloads call into acme's network by name; our resolvers ask
# acme's for its names, in acme's own scope.
. "$(dirname "$0")/lib.sh"
pattern egress-onprem

site payments 10.100.4.7
site reporting 10.101.0.7
site resolvers 10.53.0.2
site acme 10.20.1.5 10.20.1.6 10.20.0.53 10.20.66.6

certificate server /CN=ledger.corp.acme.example
web acme "$(tls 10.20.1.5:443)" "$(tls 10.20.1.6:443)" "$(tls 10.20.66.6:443)" "$(tls 10.20.1.5:8443)" "listen 10.20.1.6:8080;"
quic_server acme 10.20.1.5 443
shell acme 10.20.1.6
behind acme nc -lk 10.20.1.5 1521
resolver acme 10.20.0.53 old.ledger.corp.acme.example=10.20.66.6 ledger.corp.acme.example=10.20.1.5 files.corp.acme.example=10.20.1.6 \
    rebind.corp.acme.example=10.100.4.7
ready

capture acme acme
ask resolvers 10.20.0.53 ledger.corp.acme.example
ask resolvers 10.20.0.53 files.corp.acme.example
ask resolvers 10.20.0.53 old.ledger.corp.acme.example
ask resolvers 10.20.0.53 v1.ledger.corp.acme.example
fetch payments 10.20.1.5 https://ledger.corp.acme.example/
at payments bash -c 'echo query | nc -w 1 10.20.1.5 1521'
fetch reporting 10.20.1.6:8080 http://files.corp.acme.example/daily.csv
secure_shell reporting 10.20.1.6
ask resolvers 10.20.0.53 www.example.net
ask payments 10.20.0.53 ledger.corp.acme.example
fetch payments 10.20.1.5 https://intranet.corp.acme.example/
fetch payments 10.20.1.6 https://ledger.corp.acme.example/an-address-never-answered-for-it
fetch payments 10.20.66.6 https://old.ledger.corp.acme.example/answered-but-outside
fetch payments 10.20.1.5 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 https://v1.ledger.corp.acme.example/
fetch payments 10.20.1.5:8443 https://ledger.corp.acme.example/
quic payments 10.20.1.5 443 ledger.corp.acme.example
secure_shell payments 10.20.1.6
at reporting bash -c 'echo query | nc -w 1 10.20.1.5 1521'
fetch reporting 10.20.1.6:8080 http://payroll.corp.acme.example/
fetch acme 10.100.4.7 https://api.payments.example/backwards
at payments ping -c 1 -W 1 10.20.1.5
wrapped acme acme vpce-00a11ce0000000001
