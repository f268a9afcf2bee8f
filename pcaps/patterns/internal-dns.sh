#!/usr/bin/env bash
# DNS for internal endpoints: acme asks our global resolver, globex resolves in its own VPC, and our
# resolvers ask initech's, which answers with addresses it has no business to give.
. "$(dirname "$0")/lib.sh"
pattern internal-dns

site acme 10.20.1.5 10.20.9.9
site globex 10.40.2.9
site initech 10.60.1.5 10.60.1.6 10.60.66.6 10.60.0.53
site payments 10.100.4.7 10.100.4.8 10.100.66.6
site ledger 10.110.1.20
site resolvers 10.53.0.2

certificate server /CN=api.payments.example
web payments "$(tls 10.100.4.7:443)" "$(tls 10.100.4.7:8443)" "$(tls 10.100.4.8:443)" "$(tls 10.100.66.6:443)"
quic_server payments 10.100.4.7 443
web ledger "$(tls 10.110.1.20:443)"
web initech "$(tls 10.60.1.5:443)" "$(tls 10.60.1.5:8443)" "$(tls 10.60.1.6:443)" "$(tls 10.60.66.6:443)"
quic_server initech 10.60.1.5 443
resolver resolvers 10.53.0.2 api.payments.example=10.100.4.7 stray.api.payments.example=10.100.66.6 \
    core.api.payments.example=10.110.1.20 batch.payments.example=10.100.4.8 ledger.example=10.110.1.20
resolver initech 10.60.0.53 orders.corp.initech.example=10.60.1.5 stray.orders.corp.initech.example=10.60.66.6 \
    rebind.orders.corp.initech.example=10.110.1.20 wiki.corp.initech.example=10.60.1.5
ready

capture acme acme
ask acme 10.53.0.2 -b 10.20.1.5 api.payments.example
ask acme 10.53.0.2 -b 10.20.1.5 +tcp v2.api.payments.example
ask acme 10.53.0.2 -b 10.20.9.9 batch.payments.example
ask acme 10.53.0.2 -b 10.20.1.5 stray.api.payments.example
ask acme 10.53.0.2 -b 10.20.1.5 core.api.payments.example
fetch acme 10.100.4.7 https://api.payments.example/
fetch acme 10.100.4.7 https://v2.api.payments.example/
fetch acme 10.100.4.8 --interface 10.20.9.9 https://batch.payments.example/
ask acme 10.53.0.2 -b 10.20.9.9 api.payments.example
ask acme 10.53.0.2 -b 10.20.1.5 batch.payments.example
ask acme 10.53.0.2 -b 10.20.1.5 ledger.example
ask acme 10.53.0.2 -b 10.20.1.5 www.example.net
fetch acme 10.100.4.8 https://api.payments.example/not-where-it-was-answered
fetch acme 10.100.4.7 https://v3.api.payments.example/never-asked-for
fetch acme 10.100.66.6 https://stray.api.payments.example/answered-but-not-published
fetch acme 10.110.1.20 https://core.api.payments.example/answered-with-the-core
fetch acme 10.100.4.7:8443 https://api.payments.example/
fetch acme 10.100.4.7 https://admin.payments.example/
quic acme 10.100.4.7 443 api.payments.example
wrapped acme acme vpce-00a11ce0000000001

capture globex globex
fetch globex 10.100.4.7 https://quotes.payments.example/
fetch globex 10.100.66.6 https://quotes.payments.example/elsewhere
fetch globex 10.100.4.7 https://api.payments.example/
ask globex 10.53.0.2 api.payments.example
wrapped globex globex vpce-00b0b000000000001

capture initech initech
ask resolvers 10.60.0.53 orders.corp.initech.example
ask resolvers 10.60.0.53 stray.orders.corp.initech.example
ask resolvers 10.60.0.53 rebind.orders.corp.initech.example
ask resolvers 10.60.0.53 wiki.corp.initech.example
fetch payments 10.60.1.5 https://orders.corp.initech.example/
ask resolvers 10.60.0.53 www.example.net
ask payments 10.60.0.53 orders.corp.initech.example
fetch payments 10.60.1.6 https://orders.corp.initech.example/not-where-it-was-answered
fetch payments 10.60.66.6 https://stray.orders.corp.initech.example/answered-but-not-theirs-to-serve
fetch payments 10.60.1.5 https://wiki.corp.initech.example/
fetch payments 10.60.1.5:8443 https://orders.corp.initech.example/
quic payments 10.60.1.5 443 orders.corp.initech.example
fetch initech 10.110.1.20 https://rebind.orders.corp.initech.example/what-rebinding-is-after
wrapped initech initech vpce-00c0c000000000001
