# A network of namespaces with real programs in it, captured on the wire and wrapped as GWLB wraps
# it. Sourced by the scripts beside it, one for each connectivity pattern; judges nothing itself.
#
#   partner ──┐                        A site is a namespace with addresses of its own, joined by
#   workload ─┼── hub                  one link to the hub, which routes between all of them.
#   resolver ─┘   (routing, GWLB)      A capture is taken on the hub's end of a site's link: what
#                                      the GWLB endpoint of that site sees, both directions.
#
# Needs root and the Debian packages iproute2 ethtool tcpdump curl openssl nginx-light dnsmasq
# bind9-dnsutils openssh-server netcat-openbsd iputils-ping haproxy wireshark-common
# unbound python3; for QUIC a Python with aioquic
# (pip install aioquic), named by LOCKGATE_PYTHON. Nothing leaves the namespaces.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
lockgate=${LOCKGATE:-$root/target/debug/lockgate}
python=${LOCKGATE_PYTHON:-python3}
work=$(mktemp -d)
chmod 755 "$work"
run=lg$$
sites=()

# Ends what this script started, and nothing else.
cleanup() {
    local site pid
    for site in "${sites[@]}" hub; do
        for pid in $(ip netns pids "$run-$site" 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
        ip netns del "$run-$site" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

# pattern NAME: captures go to this ruleset's tests.
pattern() {
    captures=$root/rulesets/$1/tests
    mkdir -p "$captures"
    ip netns add "$run-hub"
    in_hub ip link set lo up
    in_hub sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

in_hub() { ip netns exec "$run-hub" "$@"; }

# site NAME ADDRESS...: a namespace with these addresses (IPv4 or IPv6, the first is its own choice
# as source), reached through the hub.
site() {
    local name=$1 address; shift
    sites+=("$name")
    ip netns add "$run-$name"
    ip link add "$name" netns "$run-hub" type veth peer name eth0 netns "$run-$name"
    # Offload would leave checksums unmade in the capture.
    in_hub ethtool -K "$name" tx off rx off tso off gso off gro off >/dev/null
    within "$name" ethtool -K eth0 tx off rx off tso off gso off gro off >/dev/null
    in_hub sysctl -qw "net.ipv4.conf.$name.proxy_arp=1" "net.ipv4.neigh.$name.proxy_delay=0"
    in_hub ip addr add fe80::1/64 dev "$name" nodad
    in_hub ip link set "$name" up
    within "$name" ip link set lo up
    within "$name" ip link set eth0 up
    for address in "$@"; do
        case $address in
        *:*) within "$name" ip addr add "$address/128" dev eth0 nodad
             in_hub ip -6 route add "$address/128" dev "$name" ;;
        *) within "$name" ip addr add "$address/32" dev eth0
           in_hub ip route replace "$address/32" dev "$name" ;;
        esac
    done
    within "$name" ip route add default dev eth0
    within "$name" ip -6 route add default via fe80::1 dev eth0
}

# moved ADDRESS SITE: the hub sends what is for this address to that site from now on; two partners
# with the same addresses are reached one after the other.
moved() { in_hub ip route replace "$1/32" dev "$2"; }

within() { local name=$1; shift; ip netns exec "$run-$name" "$@"; }

# at SITE COMMAND...: a client, at most ten seconds; whether it succeeds is not asked.
at() {
    local name=$1; shift
    ip netns exec "$run-$name" timeout 10 "$@" </dev/null >>"$work/clients.log" 2>&1 || true
}

# behind SITE COMMAND...: a server, until the end.
servers=()
behind() {
    local name=$1; shift
    ip netns exec "$run-$name" "$@" </dev/null >>"$work/servers.log" 2>&1 &
    servers+=("$name $!")
}

# certificate NAME SUBJECT [ISSUER]: $work/NAME.pem and .key; signed by itself, or by ISSUER. With
# valid_until=yesterday it ended then.
certificate() {
    local name=$1 subject=$2 issuer=${3:-}
    local key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/$name.key")
    if [ -z "$issuer" ]; then
        openssl req -x509 "${key[@]}" -days 3650 -subj "$subject" -out "$work/$name.pem" 2>/dev/null
    else
        openssl req -new "${key[@]}" -subj "$subject" -out "$work/$name.csr" 2>/dev/null
        openssl x509 -req -in "$work/$name.csr" -CA "$work/$issuer.pem" -CAkey "$work/$issuer.key" \
            -CAcreateserial -days "$([ "${valid_until:-}" = yesterday ] && echo -1 || echo 3650)" -out "$work/$name.pem" 2>/dev/null
    fi
    chmod 644 "$work/$name".*
}

# web SITE SERVER...: nginx; each SERVER is what stands within one `server { }`.
web() {
    local name=$1 block; shift
    local folder=$work/web-$name
    mkdir -p "$folder/www"
    echo '{"status":"ok"}' >"$folder/www/index.html"
    {
        echo "daemon off; user root; worker_processes 1; pid $folder/pid; error_log $folder/error.log;"
        echo "events {} http { access_log off; root $folder/www;"
        for block in client_body proxy fastcgi uwsgi scgi; do echo "${block}_temp_path $folder/$block;"; done
        for block in "$@"; do echo "server { $block }"; done
        echo "}"
    } >"$folder/nginx.conf"
    behind "$name" nginx -c "$folder/nginx.conf" -e "$folder/error.log"
}

# tls ADDRESS:PORT [MORE]: for `web`, a server with TLS.
tls() { echo "listen $1 ssl; ssl_certificate $work/server.pem; ssl_certificate_key $work/server.key; ${2:-}"; }

# proxy SITE LINE...: haproxy that answers every request; LINEs are those of its frontend.
proxy() {
    local name=$1 line file=$work/haproxy-$1.cfg; shift
    cat "$work/server.pem" "$work/server.key" >"$work/both.pem"
    {
        printf 'defaults\n mode http\n timeout client 9s\n timeout connect 9s\n timeout server 9s\nfrontend all\n'
        for line in "$@"; do echo " $line"; done
        echo " http-request return status 200 content-type application/json string ok"
    } >"$file"
    behind "$name" haproxy -db -f "$file"
}

# resolver SITE ADDRESS NAME=ANSWER...: dnsmasq; a NAME stands for everything below it too.
resolver() {
    local name=$1 address=$2 record options=(); shift 2
    for record in "$@"; do options+=("--address=/${record%%=*}/${record#*=}"); done
    behind "$name" dnsmasq --no-daemon --no-resolv --no-hosts --conf-file=/dev/null --local-ttl=60 \
        --listen-address="$address" --bind-interfaces "${options[@]}"
}

# shell SITE ADDRESS: sshd.
shell() {
    [ -f "$work/host" ] || ssh-keygen -q -t ed25519 -N '' -f "$work/host"
    mkdir -p /run/sshd
    behind "$1" /usr/sbin/sshd -D -f /dev/null -o HostKey="$work/host" -o PidFile=none -o ListenAddress="$2"
}

# secure_shell SITE ADDRESS: ssh to there, as far as it goes without an account.
secure_shell() {
    at "$1" ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR "${@:3}" "$2" true
}

# fetch SITE ADDRESS[:PORT] CURL-ARGUMENTS...: curl connects to ADDRESS whatever the URL's host.
fetch() {
    local name=$1 target=$2; shift 2
    case $target in *:*) ;; *) target=$target: ;; esac
    at "$name" curl -sk --max-time 8 --connect-to "::$target" "$@"
}

# ask SITE SERVER DIG-ARGUMENTS...
ask() { local name=$1 server=$2; shift 2; at "$name" dig +tries=1 +time=2 "@$server" "$@"; }

# quic_server SITE ADDRESS PORT; quic SITE ADDRESS PORT NAME: HTTP/3 by aioquic.
quic_server() { behind "$1" "$python" "$here/quic.py" serve "$2" "$3" "$work/server.pem" "$work/server.key"; }
quic() { local name=$1; shift; at "$name" "$python" "$here/quic.py" get "$@"; }

# ready: every server listens; ten seconds at most each.
ready() {
    local server site pid try
    for server in "${servers[@]}"; do
        read -r site pid <<<"$server"
        for try in {1..100}; do
            if within "$site" ss -Hlntup | grep -q "pid=$pid,"; then continue 2; fi
            sleep 0.1
        done
        echo "a server of $site does not listen:" >&2
        tail -n 5 "$work/servers.log" >&2
        exit 1
    done
}

# capture NAME SITE...: starts to capture what passes the hub's ends of these sites' links.
declare -A dumps
capture() {
    local name=$1 site; shift
    for site in "$@"; do
        in_hub tcpdump -i "$site" -w "$work/$name-$site.pcap" --immediate-mode -U -s 0 ip or ip6 2>"$work/$name-$site.log" &
        dumps[$name]="${dumps[$name]:-} $!"
        until grep -qs "listening on" "$work/$name-$site.log"; do sleep 0.05; done
    done
}

# ended NAME: ends a capture.
ended() {
    local pid
    sleep 1
    for pid in ${dumps[$1]:-}; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    dumps[$1]=
}

# wrapped NAME SITE ENDPOINT [FILE]: ends the capture of one site; what it holds goes to
# tests/NAME.pcap (or FILE) as GWLB delivers it from ENDPOINT.
wrapped() {
    local name=$1 site=$2 endpoint=$3 file=${4:-$1.pcap}
    ended "$name"
    # What belongs to the link alone never reaches a GWLB endpoint.
    tcpdump -r "$work/$name-$site.pcap" -w "$work/clean.pcap" 'not ip6 net fe80::/10 and not ip6 net ff02::/16' 2>/dev/null
    "$lockgate" wrap "$work/clean.pcap" "$captures/$file" --endpoint "$endpoint"
}
