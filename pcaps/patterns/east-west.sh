#!/usr/bin/env bash
# East-west inspection reused: workloads among themselves and third parties through one inspection
# VPC, whose endpoints carry everybody's traffic.
. "$(dirname "$0")/lib.sh"
pattern east-west

site payments 10.100.4.7
site ledger 10.110.1.20
site lab 10.200.0.5
site acme 10.20.1.5
site initech 10.30.1.5
site resolvers 10.53.0.2

certificate server /CN=api.payments.example
web payments "$(tls 10.100.4.7:443)"
web ledger "$(tls 10.110.1.20:443)"
behind ledger nc -lk 10.110.1.20 5432
web acme "$(tls 10.20.1.5:443)"
resolver resolvers 10.53.0.2 payments.example=10.100.4.7 ledger.example=10.110.1.20
ready

capture workloads payments
ask payments 10.53.0.2 ledger.example
fetch payments 10.110.1.20 https://ledger.example/entries
at payments bash -c 'echo query | nc -w 1 10.110.1.20 5432'
fetch payments 10.20.1.5 https://hooks.acme.example/notify
fetch payments 10.110.1.20 https://admin.ledger.example/
at payments bash -c 'echo query | nc -w 1 10.110.1.20 5433'
fetch payments 10.20.1.5 https://paste.example/
wrapped workloads payments vpce-00e0e000000000001
capture lab lab
ask lab 10.53.0.2 ledger.example
fetch lab 10.110.1.20 https://ledger.example/entries
fetch lab 10.100.4.7 https://api.payments.example/v1
at lab bash -c 'echo query | nc -w 1 10.110.1.20 5432'
wrapped lab lab vpce-00e0e000000000001

capture third-parties acme
ask acme 10.53.0.2 api.payments.example
fetch acme 10.100.4.7 https://api.payments.example/v1
fetch acme 10.100.4.7 https://admin.payments.example/v1
ask acme 10.53.0.2 ledger.example
fetch acme 10.110.1.20 https://ledger.example/entries
at acme bash -c 'echo query | nc -w 1 10.110.1.20 5432'
fetch initech 10.20.1.5 https://hooks.acme.example/from-another-partner
fetch acme 10.30.1.5 https://initech.example/
wrapped third-parties acme vpce-00e0e000000000001
