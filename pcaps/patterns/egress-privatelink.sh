#!/usr/bin/env bash
# Egress over PrivateLink: workloads call partners' endpoint services through interface endpoints,
# by the endpoint's own DNS names and by private DNS names.
. "$(dirname "$0")/lib.sh"
pattern egress-privatelink

site payments 10.100.4.7
site reporting 10.101.0.7
site endpoints 10.97.2.10 10.97.2.11 10.97.2.20
site resolvers 10.53.0.2

acme_service=vpce-svc-0acacacacacacac01.eu-west-1.vpce.amazonaws.com
globex_service=vpce-svc-0bebebebebebebe01.eu-west-1.vpce.amazonaws.com
acme=vpce-0123456789abcdef0-abcdefgh
certificate server /CN=api.acme.example
web endpoints "$(tls 10.97.2.10:443)" "$(tls 10.97.2.11:443)" "$(tls 10.97.2.20:443)" "listen 10.97.2.20:8443;"
quic_server endpoints 10.97.2.10 443
resolver resolvers 10.53.0.2 acme.example=10.97.2.10 "$acme_service=10.97.2.11" globex.example=10.97.2.20 \
    "$globex_service=10.97.2.20" example.net=192.0.2.9
ready

capture payments payments
ask payments 10.53.0.2 api.acme.example
ask payments 10.53.0.2 "$acme.$acme_service"
fetch payments 10.97.2.10 https://api.acme.example/
fetch payments 10.97.2.11 "https://$acme.$acme_service/"
fetch payments 10.97.2.11 "https://$acme-eu-west-1a.$acme_service/"
ask payments 10.53.0.2 upload.example.net
fetch payments 10.97.2.10 https://console.acme.example/
fetch payments 10.97.2.11 "https://vpce-0fedcba9876543210-zzzzzzzz.$acme_service/"
fetch payments 10.97.2.11 "https://$acme.$globex_service/"
fetch payments 10.97.2.11 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 "https://$acme-eu-west-1b.$acme_service/"
fetch payments 10.97.2.20 https://api.acme.example/at-globexs-endpoint
quic payments 10.97.2.10 443 api.acme.example
at payments curl -sk --max-time 4 https://10.97.2.10/
wrapped payments payments vpce-00e0e000000000001

capture reporting reporting
ask reporting 10.53.0.2 feeds.globex.example
fetch reporting 10.97.2.20 https://feeds.globex.example/daily
fetch reporting 10.97.2.20 https://feeds.globex.example:443/daily --next -sk https://10.97.2.20/nameless
fetch reporting 10.97.2.10 https://api.acme.example/
fetch reporting 10.97.2.20:8443 http://feeds.globex.example/
fetch endpoints 10.101.0.7 https://reports.payments.example/backwards
wrapped reporting reporting vpce-00e0e000000000001
