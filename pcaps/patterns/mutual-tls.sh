#!/usr/bin/env bash
# Mutual TLS between accounts: clients with certificates of several authorities, under TLS 1.2 and
# 1.3, towards an nginx that asks for one. Writes the fingerprint it made into partners/globex.yaml.
. "$(dirname "$0")/lib.sh"
pattern mutual-tls

site acme 10.20.1.5
site globex 10.40.2.9
site initech 10.60.0.4
site mtls-proxy 10.100.4.7 10.100.4.13
site payments 10.100.7.7

certificate server /CN=acme.payments.example
certificate acme-ca '/O=Acme/CN=acme issuing CA'
certificate acme-client '/O=Acme/CN=till 17' acme-ca
valid_until=yesterday certificate acme-lapsed '/O=Acme/CN=till 16' acme-ca
certificate other-ca '/O=Mallory/CN=acme issuing CA'
certificate other-client '/O=Acme/CN=till 17' other-ca
certificate globex-ca '/O=Globex/CN=globex CA'
certificate globex-client /CN=gateway globex-ca
certificate globex-next /CN=gateway globex-ca
certificate initech-ca /CN=initech
certificate initech-client /CN=orders initech-ca
fingerprint=$(openssl x509 -in "$work/globex-client.pem" -outform der | sha256sum | cut -d' ' -f1)
sed -i -E "s/sha256: .*/sha256: [\"$fingerprint\"]/" "$root/rulesets/mutual-tls/partners/globex.yaml"

versions='ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers DEFAULT@SECLEVEL=0;'
# The first takes any certificate, so that what is refused is refused before it; the second wants
# initech's.
web mtls-proxy "$(tls 10.100.4.7:443 "ssl_verify_client optional_no_ca; $versions")" \
    "$(tls 10.100.4.13:443 "ssl_verify_client on; ssl_client_certificate $work/initech-ca.pem; $versions")"
web payments "$(tls 10.100.7.7:443)"
ready

with() { echo "--cert $work/$1.pem --key $work/$1.key"; }
old='--tls-max 1.2'

capture acme acme
fetch acme 10.100.4.7 $old $(with acme-client) https://acme.payments.example/
fetch acme 10.100.4.7 $old $(with acme-client) https://acme.payments.example/again
fetch acme 10.100.4.7 $old $(with other-client) https://status.payments.example/
fetch acme 10.100.4.7 $old https://acme.payments.example/no-certificate
fetch acme 10.100.4.7 $old $(with other-client) https://acme.payments.example/wrong-issuer
fetch acme 10.100.4.7 $old https://status.payments.example/no-certificate
fetch acme 10.100.4.7 $old $(with acme-lapsed) https://acme.payments.example/out-of-date
fetch acme 10.100.4.7 $(with acme-client) https://acme.payments.example/tls-1.3
fetch acme 10.100.4.7 $old $(with acme-client) https://globex.payments.example/
fetch acme 10.100.4.7 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 $(with acme-client) https://acme.payments.example/tls-1.1
fetch acme 10.100.7.7 $old $(with acme-client) https://acme.payments.example/round-the-proxy
# A resumed session shows no certificate.
at acme openssl s_client -connect 10.100.4.7:443 -servername acme.payments.example -tls1_2 \
    -cert "$work/acme-client.pem" -key "$work/acme-client.key" -sess_out "$work/session"
at acme openssl s_client -connect 10.100.4.7:443 -servername acme.payments.example -tls1_2 -sess_in "$work/session"
wrapped acme acme vpce-00a11ce0000000001

capture globex globex
fetch globex 10.100.4.7 $old $(with globex-client) https://globex.payments.example/
fetch globex 10.100.4.7 $old $(with globex-next) https://globex.payments.example/another-certificate
fetch globex 10.100.4.7 $old https://globex.payments.example/no-certificate
fetch globex 10.100.4.7 $old $(with globex-client) https://acme.payments.example/
fetch globex 10.100.4.7 $(with globex-client) https://globex.payments.example/tls-1.3
wrapped globex globex vpce-00b0b000000000001

capture initech initech
fetch initech 10.100.4.13 $(with initech-client) https://initech.payments.example/
fetch initech 10.100.4.13 https://initech.payments.example/refused-by-the-proxy
fetch initech 10.100.4.7 $(with initech-client) https://initech.payments.example/another-listener
fetch initech 10.100.4.13 $old $(with initech-client) https://initech.payments.example/tls-1.2
fetch initech 10.100.4.13 $(with initech-client) https://acme.payments.example/
wrapped initech initech vpce-00c0c000000000001
