//! What single words of Suricata mean here: protocols, keywords with an equal, and what is said of those
//! without. Reads no rule.

use crate::model::Protocol;

/// What is said of `nocase` behind http.host.
pub(super) const NOCASE_ON_HOST: &str =
    "Suricata refuses `nocase` on http.host, which is lower case anyway";

/// Whether a keyword begins what the options behind it look into.
pub(super) fn is_buffer(name: &str) -> bool {
    name.contains('.') && !name.starts_with("app-layer") && name != "tls.version"
}

/// A number, where the language has no ranges.
pub(super) fn number_only(value: &str, name: &str) -> Result<String, String> {
    match value.parse::<u8>() {
        Ok(number) => Ok(number.to_string()),
        Err(_) => Err(format!("`{name}:{value}` has no equal; only a number has")),
    }
}

/// What a header's word stands for: IP protocols, and the application protocol.
pub(super) type Header = (Option<Vec<Protocol>>, Option<&'static str>);

/// IP protocols and the application protocol of a header's word.
pub(super) fn protocol(word: &str) -> Result<Header, String> {
    let tcp = || Some(vec![Protocol::TCP]);
    Ok(match word {
        "ip" | "any" | "ipv4" | "ip4" | "ipv6" | "ip6" => (None, None),
        "tcp" | "tcp-stream" | "tcp-pkt" => (tcp(), None),
        "udp" => (Some(vec![Protocol::UDP]), None),
        "icmp" => (Some(vec![Protocol::ICMP, Protocol::ICMPV6]), None),
        "icmpv4" => (Some(vec![Protocol::ICMP]), None),
        "icmpv6" => (Some(vec![Protocol::ICMPV6]), None),
        "sctp" => (Some(vec![Protocol(132)]), None),
        "tls" | "ssl" => (tcp(), Some("tls")),
        "http" | "http1" => (tcp(), Some("http")),
        "quic" => (Some(vec![Protocol::UDP]), Some("quic")),
        "dns" => (Some(vec![Protocol::TCP, Protocol::UDP]), Some("dns")),
        "http2" => return Err("HTTP/2 cannot be told from HTTP/1 by a rule here".into()),
        other => {
            return Err(format!(
                "protocol `{other}`: a rule here can ask for tls, http, quic and dns; write its ports"
            ));
        }
    })
}

/// The IP protocol of a word of `ip_proto`.
pub(super) fn ip_protocol(word: &str) -> Option<Protocol> {
    Some(Protocol(match word.to_ascii_lowercase().as_str() {
        "icmp" => 1,
        "igmp" => 2,
        "tcp" => 6,
        "udp" => 17,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "ipv6-icmp" | "icmpv6" => 58,
        "sctp" => 132,
        number => number.parse().ok()?,
    }))
}

/// What is said of a keyword that has no equal.
pub(super) fn refusal(name: &str) -> String {
    let why = match name {
        "content" | "pcre" | "dsize" | "depth" | "offset" | "distance" | "within" | "nocase"
        | "startswith" | "endswith" | "isdataat" | "byte_test" | "byte_jump" | "uricontent"
        | "fast_pattern" | "bsize" => {
            "a detection rule: it looks into payload, which a policy here does not"
        }
        "xbits" | "hostbits" => "state over flows; `bind: dns` ties a name to its DNS answers",
        "flowbits" | "flowint" => "state within a flow; rules here are tried in order instead",
        "geoip" => "no data of countries; write the networks",
        "aws_domain_category" | "aws_url_category" => "no data of categories; write the names",
        "iprep" | "dataset" | "datarep" => "no data of its own; write a set",
        "ja3.hash" | "ja3s.hash" => "fingerprints are asked for as JA4 here",
        "ssl_version" | "tls.version" => {
            "only a lowest version can be asked for (`tls.min_version`)"
        }
        "ssl_state" => "only `client_hello` has an equal",
        "tls.cert_issuer"
        | "tls.cert_subject"
        | "tls.subject"
        | "tls.issuerdn"
        | "tls.cert_fingerprint"
        | "tls.fingerprint" => "the server's certificate is not asked for here",
        "flags" | "seq" | "ack" | "window" | "ttl" | "tos" | "fragbits" | "stream_size" => {
            "a single packet's header; verdicts here are of flows"
        }
        name if name.starts_with("http") || name.starts_with("file") => {
            "what is inside a request is not asked for here, but for its host"
        }
        _ => "it has no equal",
    };
    format!("`{name}`: {why}")
}
