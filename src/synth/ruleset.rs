//! A ruleset of any size: partners, rules and names as a large institution has them. For benches and
//! tests of scale; the same arguments give the same texts.

use std::fmt::Write;

/// How large a ruleset is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Partners, one file each.
    pub partners: usize,
    /// Rules over all partners.
    pub rules: usize,
    /// Names in the list that every partner is held against.
    pub names: usize,
    /// Names of its own that each partner may ask for, besides those of its rules.
    pub own_names: usize,
}

/// Files by their path below the ruleset folder.
pub type Files = Vec<(String, String)>;

/// A ruleset: `lockgate.yaml`, a file for each partner, one list of names.
#[must_use]
pub fn ruleset(size: Size) -> Files {
    let mut files = vec![
        ("lockgate.yaml".to_owned(), common()),
        ("lists/blocked.txt".to_owned(), names(size.names)),
    ];
    let each = size.rules / size.partners.max(1);
    let more = size.rules.checked_rem(size.partners).unwrap_or(0);
    for number in 0..size.partners {
        let rules = each.saturating_add(usize::from(number < more));
        files.push((format!("partners/p{number:04}.yaml"), partner(number, rules, size.own_names)));
    }
    files
}

fn common() -> String {
    "lockgate: 1
segments:
  payments: { kind: workload, labels: { lane: prod }, networks: [10.100.0.0/16, \"2001:db8:100::/48\"] }
  reporting: { kind: workload, labels: { lane: prod }, networks: [10.101.0.0/16] }
  resolvers: { kind: shared, networks: [10.53.0.0/24] }
sets:
  blocked: { domains_file: lists/blocked.txt }
  bastion-ports: { ports: [22, 3389] }
policies:
  - from: kind:partner
    to: resolvers
    rules:
      - { id: dns-udp, action: allow, protocol: udp, ports: [53], dns: [.payments.example] }
  - from: kind:partner
    to: reporting
    rules: []
    otherwise: reject
guardrails:
  - { never: { from: kind:partner, to: kind:partner } }
  - { never: { from: kind:partner, to: kind:workload, ports: [$bastion-ports] } }
  - { never: { from: kind:partner, to: kind:workload, without: names } }
"
    .to_owned()
}

/// Names of ten lengths below a thousand domains.
fn names(count: usize) -> String {
    let mut list = String::with_capacity(count.saturating_mul(28));
    for number in 0..count {
        let (host, domain) = (number / 1000, number % 1000);
        let dot = if number % 7 == 0 { "." } else { "" };
        let _ = writeln!(list, "{dot}host-{host}.tracker-{domain}.example.com");
    }
    list
}

/// Every partner uses the same addresses, behind an endpoint in each of two availability zones; its
/// first rule is held against the whole list, its second has its own names.
fn partner(number: usize, rules: usize, own_names: usize) -> String {
    let own: Vec<String> =
        (0..own_names).map(|name| format!("n{name}.own.p{number}.example.org")).collect();
    let sets = match own.is_empty() {
        true => String::new(),
        false => format!("sets:\n  own-{number:04}: {{ domains: [{}] }}\n", own.join(", ")),
    };
    let mut text = format!(
        "lockgate: 1
segments:
  p{number:04}: {{ kind: partner, endpoints: [vpce-0{number:016x}, vpce-0{:016x}], networks: [10.20.0.0/16] }}
{sets}policies:
  - from: p{number:04}
    to: payments
    rules:
",
        number.saturating_add(1 << 32)
    );
    for rule in 0..rules {
        let id = format!("p{number:04}-r{rule}");
        let host = rule.checked_rem(200).unwrap_or(0);
        let _ = match rule % 8 {
            0 if rule == 0 => writeln!(
                text,
                "      - {{ id: {id}, action: deny, protocol: tcp, domains: [$blocked] }}"
            ),
            1 if rule == 1 && own_names > 0 => writeln!(
                text,
                "      - {{ id: {id}, action: allow, protocol: tcp, ports: [443], domains: [$own-{number:04}] }}"
            ),
            7 => writeln!(
                text,
                "      - {{ id: {id}, action: reject, protocol: tcp, ports: [{}] }}",
                2000 + rule
            ),
            6 => writeln!(
                text,
                "      - {{ id: {id}, action: allow, protocol: udp, ports: [443], destinations: [10.100.{host}.0/24], domains: [q{rule}.p{number}.example.org] }}"
            ),
            5 => writeln!(
                text,
                "      - {{ id: {id}, action: allow, protocol: tcp, ports: [443], domains: [\"api-*.r{rule}.p{number}.example.org\"] }}"
            ),
            _ => writeln!(
                text,
                "      - {{ id: {id}, action: allow, protocol: tcp, ports: [443, {}], destinations: [10.100.{host}.0/24], domains: [.r{rule}.p{number}.example.org], tls: {{ min_version: \"1.2\" }} }}",
                8000 + rule
            ),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_has_what_was_asked_for() {
        let files = ruleset(Size { partners: 3, rules: 20, names: 50, own_names: 2 });
        assert_eq!(files.len(), 5);
        let rules: usize = files.iter().map(|(_, text)| text.matches("- { id: p").count()).sum();
        assert_eq!(rules, 20);
        assert_eq!(files[1].1.lines().count(), 50);
        assert_eq!(files[2].1.matches(".own.p0.example.org").count(), 2);
    }
}
