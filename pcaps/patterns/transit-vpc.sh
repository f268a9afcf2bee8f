#!/usr/bin/env bash
# A transit VPC: a software VPN hub to which remote networks come by IKE with NAT-T (acme, the branch
# in the north), by IPsec without NAT-T (initech), by GRE (the branch in the south) and as remote
# access (a contractor, who gets an address of the pool). Two legs are captured on the hub's link:
# outside, where tunnels are, and inside, where what they carried is.
#
# Beyond what lib.sh needs: the Debian packages strongswan-charon strongswan-swanctl
# libcharon-extra-plugins (IPsec without the kernel's, always in UDP 4500) and python3-cryptography
# (tunnel.py, for GRE and bare ESP).
. "$(dirname "$0")/lib.sh"
pattern transit-vpc

site vpn-hub 10.99.0.10 10.99.0.11 10.99.1.10
site acme-gateway 198.51.100.10 10.20.1.5
site north-gateway 198.51.100.70 10.70.0.5
site south-gateway 10.254.0.2 10.71.1.20
site initech-gateway 10.254.0.6 10.60.0.4
site contractor 203.0.113.77
site stranger 203.0.113.66
site payments 10.100.4.7 10.100.4.9 10.100.4.22
site ledger 10.110.1.20
site resolvers 10.53.0.2

# What the hub's tunnels carried goes on through the inspection, to another spoke too: it leaves by
# the link, never straight into the next tunnel.
within vpn-hub sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0
in_hub sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.vpn-hub.send_redirects=0
spokes=(10.20.0.0/16 10.60.0.0/16 10.70.0.0/16 10.71.0.0/16 10.250.0.0/20)
in_hub ip addr add 10.99.1.1/32 dev vpn-hub
for network in "${spokes[@]}"; do in_hub ip route add "$network" via 10.99.1.10 dev vpn-hub onlink; done
for address in 10.20.1.5 10.70.0.5 10.71.1.20 10.60.0.4; do in_hub ip route del "$address/32"; done
within vpn-hub ip route add default via 10.99.1.1 dev eth0 onlink table 100
from_tunnel() { within vpn-hub ip rule add iif "$1" lookup 100 pref 100; }

# What is on our side of the GRE and ESP tunnels.
ours="10.100.0.0/16 10.110.0.0/16 10.70.0.0/15 10.20.0.0/16 10.53.0.0/24"

# strongswan SITE CONNECTIONS: an IKE daemon with these connections of swanctl.conf.
strongswan() {
    local name=$1 folder=$work/strongswan-$1
    mkdir -p "$folder"
    cat >"$folder/strongswan.conf" <<-END
	charon {
	  load = random nonce aes sha1 sha2 hmac kdf gmp kernel-libipsec kernel-netlink socket-default vici
	  install_virtual_ip = yes
	  plugins { vici { socket = unix://$folder/vici } kernel-libipsec { load = yes } }
	}
	END
    sed 's/;/\n/g; s/{/{\n/g; s/}/\n}/g' >"$folder/swanctl.conf" <<<"$2"
    # /run is its own, so that several may run at a time.
    behind "$name" bash -c "mount -t tmpfs tmpfs /run; export STRONGSWAN_CONF=$folder/strongswan.conf; exec /usr/lib/ipsec/charon"
    until [ -S "$folder/vici" ]; do sleep 0.1; done
    at "$name" swanctl --load-all --uri "unix://$folder/vici" --file "$folder/swanctl.conf" --noprompt
}

# up SITE CHILD: initiates.
up() { at "$1" swanctl --initiate --child "$2" --uri "unix://$work/strongswan-$1/vici" --timeout 8; }

shared_key() { echo "secrets { ike-${1%%.*} { id = $1; secret = \"only-for-this-capture\" } }"; }
# spoke NAME ADDRESS NETWORK: the hub's half of a tunnel.
spoke() {
    echo "connections { $1 { version = 2; local_addrs = 10.99.0.10; remote_addrs = $2
        local { auth = psk; id = hub.bank.example } remote { auth = psk; id = $1.example }
        children { $1 { esp_proposals = aes128-sha256; local_ts = 10.0.0.0/8; remote_ts = $3 } } } }
        $(shared_key "$1.example")"
}
# gateway NAME ADDRESS NETWORK: the other half.
gateway() {
    echo "connections { $1 { version = 2; local_addrs = $2; remote_addrs = 10.99.0.10
        local { auth = psk; id = $1.example } remote { auth = psk; id = hub.bank.example }
        children { $1 { esp_proposals = aes128-sha256; local_ts = $3; remote_ts = 10.0.0.0/8 } } } }
        $(shared_key "hub.bank.example")"
}
strongswan vpn-hub "$(spoke acme 198.51.100.10 10.20.0.0/16) $(spoke north 198.51.100.70 10.70.0.0/16)
    connections { remote-access { version = 2; local_addrs = 10.99.0.11; pools = contractors
        local { auth = psk; id = access.bank.example } remote { auth = psk; id = contractor.example }
        children { remote-access { esp_proposals = aes128-sha256; local_ts = 10.0.0.0/8 } } } }
    pools { contractors { addrs = 10.250.0.0/20 } } $(shared_key contractor.example)"
from_tunnel ipsec0
strongswan acme-gateway "$(gateway acme 198.51.100.10 10.20.0.0/16)"
strongswan north-gateway "$(gateway north 198.51.100.70 10.70.0.0/16)"
strongswan contractor "connections { access { version = 2; remote_addrs = 10.99.0.11; vips = 0.0.0.0
        local { auth = psk; id = contractor.example } remote { auth = psk; id = access.bank.example }
        children { access { esp_proposals = aes128-sha256; remote_ts = 10.0.0.0/8 } } } }
    $(shared_key access.bank.example)"
strongswan stranger "$(gateway acme 203.0.113.66 10.20.0.0/16)"

# tunnel KIND DEVICE SITE ADDRESS SOURCE NETWORK: GRE or bare ESP between the hub and a gateway, for
# what is between SOURCE's network and ours.
tunnel() {
    local kind=$1 device=$2 name=$3 address=$4 source=$5 network=$6 end
    within vpn-hub "$python" "$here/tunnel.py" "$kind" "$device" 10.99.0.10 "$address" &
    within "$name" "$python" "$here/tunnel.py" "$kind" "$device" "$address" 10.99.0.10 &
    for end in vpn-hub "$name"; do
        until within "$end" ip link set "$device" up mtu 1400 2>/dev/null; do sleep 0.1; done
    done
    within vpn-hub ip route add "$network" dev "$device"
    for end in $ours; do within "$name" ip route add "$end" dev "$device" src "$source"; done
    from_tunnel "$device"
}
tunnel gre south south-gateway 10.254.0.2 10.71.1.20 10.71.0.0/16
tunnel esp initech initech-gateway 10.254.0.6 10.60.0.4 10.60.0.0/16

certificate server /CN=api.payments.example
web payments "$(tls 10.100.4.7:443)" "$(tls 10.100.4.9:443)"
web ledger "$(tls 10.110.1.20:443)"
web south-gateway "$(tls 10.71.1.20:443)" "listen 10.71.1.20:8080;"
web north-gateway "$(tls 10.70.0.5:443)"
shell payments 10.100.4.22
shell vpn-hub 10.99.0.10
resolver resolvers 10.53.0.2 payments.example=10.100.4.7
ready

capture legs vpn-hub
up acme-gateway acme
up north-gateway north
up contractor access
up stranger acme
ask south-gateway 10.53.0.2 tills.payments.example
fetch south-gateway 10.100.4.9 https://tills.payments.example/
ask acme-gateway 10.53.0.2 api.payments.example
fetch acme-gateway 10.100.4.7 https://api.payments.example/
fetch acme-gateway 10.100.4.7 https://admin.payments.example/
fetch acme-gateway 10.110.1.20 https://api.payments.example/the-core
fetch acme-gateway 10.71.1.20 https://till.south.example/another-spoke
fetch north-gateway 10.71.1.20 https://stock.south.example/
at north-gateway ping -c 1 -W 1 10.71.1.20
fetch north-gateway 10.71.1.20:8080 http://stock.south.example/clear-text
fetch south-gateway 10.70.0.5 https://stock.north.example/the-other-way
secure_shell initech-gateway 10.100.4.22
secure_shell initech-gateway 10.100.4.7
fetch contractor 10.100.4.9 https://desk.payments.example/
fetch contractor 10.100.4.9 https://tills.payments.example/
fetch contractor 10.70.0.5 https://stock.north.example/a-branch
# The outside, without a tunnel.
secure_shell stranger 10.99.0.10
at stranger ping -c 1 -W 1 10.99.0.10
at stranger socat -u /etc/hostname IP4-SENDTO:10.99.0.10:47
at stranger socat -u /etc/hostname IP4-SENDTO:10.99.0.10:50
ended legs

# What leaves one tunnel for another passes the link twice, to the inspection and back from it; the
# endpoint sees the first.
back=$(in_hub cat /sys/class/net/vpn-hub/address)
outside='host 10.99.0.10 or host 10.99.0.11'
between='(net 10.70.0.0/15 or net 10.20.0.0/16 or net 10.250.0.0/20) and not net 10.100.0.0/16 and not net 10.110.0.0/16 and not net 10.53.0.0/24'
leg() {
    tcpdump -r "$work/legs-vpn-hub.pcap" -w "$work/$1.pcap" "ip and ($3)" 2>/dev/null
    "$lockgate" wrap "$work/$1.pcap" "$captures/$1.pcap" --endpoint "$2"
}
leg outside vpce-000ed9e0000000001 "$outside"
leg inside vpce-00e0e000000000001 "not ($outside) and not (ether src $back and $between)"
