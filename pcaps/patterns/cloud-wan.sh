#!/usr/bin/env bash
# Cloud WAN with a third-party segment: production, development and shared services beside it, and
# what passes between segments sent via the inspection.
. "$(dirname "$0")/lib.sh"
pattern cloud-wan

site payments 10.100.4.7
site ledger 10.110.1.20
site lab 10.200.0.5
site acme 10.20.1.5
site initech 10.30.1.5
site resolvers 10.53.0.2

certificate server /CN=api.bank.example
web payments "$(tls 10.100.4.7:443)"
web ledger "$(tls 10.110.1.20:443)"
web lab "$(tls 10.200.0.5:443)"
web acme "$(tls 10.20.1.5:443)"
web initech "$(tls 10.30.1.5:443)"
resolver resolvers 10.53.0.2 bank.example=10.100.4.7
ready

capture third-party acme
ask acme 10.53.0.2 v1.api.bank.example
fetch acme 10.100.4.7 https://v1.api.bank.example/
fetch acme 10.100.4.7 --tls-max 1.2 https://api.bank.example/
fetch payments 10.20.1.5 https://hooks.acme.example/
fetch acme 10.100.4.7 https://admin.bank.example/
fetch acme 10.100.4.7 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 https://old.api.bank.example/
ask acme 10.53.0.2 ledger.bank.example
fetch acme 10.110.1.20 https://api.bank.example/at-the-core
fetch acme 10.200.0.5 https://api.bank.example/in-the-lab
at acme curl -sk --max-time 2 --connect-to ::10.30.1.5: https://api.bank.example/
fetch payments 10.20.1.5 https://paste.acme.example/
fetch lab 10.20.1.5 https://hooks.acme.example/from-the-lab
ask acme 10.53.0.2 -b 10.20.1.5 +tcp api.bank.example
wrapped third-party acme vpce-00e0e000000000001

capture initech initech
fetch initech 10.100.4.7 https://api.bank.example/
fetch payments 10.30.1.5 https://hooks.initech.example/
wrapped initech initech vpce-00e0e000000000002

capture production payments
ask payments 10.53.0.2 ledger.bank.example
fetch payments 10.110.1.20 https://ledger.bank.example/
fetch payments 10.110.1.20 https://admin.ledger.bank.example/
fetch payments 10.200.0.5 https://model.lab.bank.example/
ask payments 10.53.0.2 www.example.net
fetch lab 10.100.4.7 https://api.bank.example/
wrapped production payments vpce-00e0e000000000001

capture development lab
ask lab 10.53.0.2 data.lab.bank.example
ask lab 10.53.0.2 ledger.bank.example
fetch lab 10.110.1.20 https://ledger.bank.example/
wrapped development lab vpce-00e0e000000000002
