#!/usr/bin/env bash
# Networks attached to a Transit Gateway: newco and the bank call each other, oldco was revoked; and
# a connection that is open when the rule that allowed it ends.
. "$(dirname "$0")/lib.sh"
pattern transit-gateway

site newco 10.120.1.5 10.120.1.22
site oldco 10.121.1.5
site payments 10.100.4.7 10.100.4.20
site ledger 10.110.1.20
site resolvers 10.53.0.2

certificate server /CN=api.payments.example
web payments "$(tls 10.100.4.7:443)"
behind payments nc -lk 10.100.4.20 5432
shell payments 10.100.4.7
web ledger "$(tls 10.110.1.20:443)"
web newco "$(tls 10.120.1.5:443)"
shell newco 10.120.1.22
web oldco "$(tls 10.121.1.5:443)"
resolver resolvers 10.53.0.2 payments.example=10.100.4.7 ledger.example=10.110.1.20
ready

capture newco newco
ask newco 10.53.0.2 api.payments.example
fetch newco 10.100.4.7 https://api.payments.example/v1
fetch newco 10.100.4.7 --tls-max 1.2 https://api.payments.example/v2
at newco bash -c 'echo rows | nc -w 1 10.100.4.20 5432'
fetch payments 10.120.1.5 https://erp.newco.example/
secure_shell payments 10.120.1.22
ask newco 10.53.0.2 ledger.example
fetch newco 10.100.4.7 https://admin.payments.example/
fetch newco 10.100.4.7 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 https://api.payments.example/old
secure_shell newco 10.100.4.7
fetch newco 10.110.1.20 https://ledger.example/
fetch payments 10.120.1.5 https://wiki.newco.example/
secure_shell payments 10.120.1.5
fetch ledger 10.120.1.5 https://erp.newco.example/from-the-core
at newco curl -sk --max-time 2 --connect-to ::10.121.1.5: https://oldco.example/
at newco ping -c 1 -W 1 10.100.4.7
wrapped newco newco vpce-00dec0000000000a1

capture oldco oldco
fetch oldco 10.100.4.7 https://api.payments.example/as-before
ask oldco 10.53.0.2 api.payments.example
fetch payments 10.121.1.5 https://erp.oldco.example/as-before
wrapped oldco oldco vpce-00dec0000000000b1

# One row a second; the capture's clock is then set so that midnight comes between two of them.
capture revoked newco
at newco bash -c 'for row in 1 2 3 4 5 6; do echo "row $row"; sleep 1; done | nc -q 1 10.100.4.20 5432' &
sleep 2.5
middle=$(date +%s.%N)
wait $!
wrapped revoked newco vpce-00dec0000000000a1
shift_by=$(awk -v to="$(date -ud 2027-04-01 +%s)" -v from="$middle" 'BEGIN { printf "%.3f", to - from }')
editcap -F pcap -t "$shift_by" "$captures/revoked.pcap" "$work/revoked.pcap"
cp "$work/revoked.pcap" "$captures/revoked.pcap"
