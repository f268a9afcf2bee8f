#!/usr/bin/env bash
# Private APIs across accounts: acme and our own functions call APIs through one interface endpoint,
# told apart by name; globex comes through a VPC link to an NLB, in clear text.
. "$(dirname "$0")/lib.sh"
pattern private-apis

site acme 10.20.1.5
site globex 10.40.2.9
site lambdas 10.105.3.3
site execute-api 10.99.4.10
site api-balancer 10.99.5.10 10.99.5.11

region=execute-api.eu-central-1.amazonaws.com
endpoint=vpce-0a1b2c3d4e5f60718
certificate server "/CN=*.$region"
web execute-api "$(tls 10.99.4.10:443 'ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers DEFAULT@SECLEVEL=0;')" "listen 10.99.4.10:80;"
quic_server execute-api 10.99.4.10 443
web api-balancer "listen 10.99.5.10:8080;" "listen 10.99.5.10:8081;" "listen 10.99.5.11:8080;" "$(tls 10.99.5.10:443)"
ready

capture acme acme
fetch acme 10.99.4.10 "https://p4ym3nts01-$endpoint.$region/prod/accounts"
fetch acme 10.99.4.10 "https://p4ym3nts01.$region/prod/accounts"
fetch acme 10.99.4.10 --tls-max 1.2 https://api.payments.example/accounts
fetch acme 10.99.4.10 "https://0th3rapi99-$endpoint.$region/prod/another-api"
fetch acme 10.99.4.10 "https://0th3rapi99.$region/prod/another-accounts-api"
fetch acme 10.99.4.10 "https://p4ym3nts01-vpce-0fedcba9876543210.$region/prod/another-endpoint"
fetch acme 10.99.4.10 "https://$endpoint.$region/prod/named-in-x-apigw-api-id" -H 'x-apigw-api-id: p4ym3nts01'
at acme curl -sk --max-time 4 https://10.99.4.10/prod/no-name
fetch acme 10.99.4.10 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 https://api.payments.example/old
fetch acme 10.99.4.10 "http://p4ym3nts01.$region/clear-text"
quic acme 10.99.4.10 443 "p4ym3nts01.$region"
fetch acme 10.105.3.3 https://api.payments.example/a-function
wrapped acme acme vpce-00a11ce0000000001

capture globex globex
fetch globex 10.99.5.10:8080 http://quotes.payments.example/v1
fetch globex 10.99.5.10:8080 -H 'x-apigw-api-id: gl0b3xq001' http://quotes.payments.example/v2
fetch globex 10.99.5.10:8080 http://quotes.payments.example/a --next -s -H 'Host: admin.payments.example' \
    --connect-to ::10.99.5.10:8080 http://quotes.payments.example/b
fetch globex 10.99.5.10:8080 http://admin.payments.example/
by_id() { fetch globex 10.99.5.10:8081 "${@:2}" -H "x-apigw-api-id: $1" http://apis.payments.example/; }
by_id q0otes0001
by_id q0otes0001 --http2-prior-knowledge
by_id p4ym3nts01
by_id q0otes0001 -H 'X-Apigw-Api-Id: p4ym3nts01'
fetch globex 10.99.5.10:8081 http://apis.payments.example/none
fetch globex 10.99.5.10:8081 -H 'x-apigw-api-id: q0otes0001' http://apis.payments.example/a --next -s \
    -H 'x-apigw-api-id: p4ym3nts01' --connect-to ::10.99.5.10:8081 http://apis.payments.example/b
fetch globex 10.99.5.11:8080 http://quotes.payments.example/another-balancer
fetch globex 10.99.5.10 https://quotes.payments.example/
fetch globex 10.99.4.10 https://api.payments.example/acmes
wrapped globex globex vpce-00b0b000000000001

capture lambdas lambdas
fetch lambdas 10.99.4.10 "https://gl0b3xq001-$endpoint.$region/prod/quotes"
fetch lambdas 10.99.4.10 "https://gl0b3xq001.$region/prod/quotes"
fetch lambdas 10.99.4.10 "https://p4ym3nts01.$region/prod/accounts"
fetch lambdas 10.99.5.10:8080 http://quotes.payments.example/
wrapped lambdas lambdas vpce-00e0e000000000001
