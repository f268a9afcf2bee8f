//! Shapes of AWS Network Firewall's API as the text of Suricata rules, one by one. Where they stand and in
//! which order is not known here.

use crate::policy::names::NamePattern;
use serde_json::Value;

/// A name of a domain list, as the service makes a rule of it.
pub(super) fn target_rule(
    action: &str,
    protocol: &str,
    buffer: &str,
    case: &str,
    target: &str,
    sid: u64,
) -> Result<String, String> {
    let pattern = match NamePattern::parse(target) {
        Ok(NamePattern::Suffix(name)) => format!("dotprefix; content:\".{name}\";{case} endswith;"),
        Ok(NamePattern::Exact(name)) => format!("content:\"{name}\"; startswith;{case} endswith;"),
        _ => {
            return Err(format!("`{target}` is no target: a name, or a name with a dot before it"));
        }
    };
    Ok(format!(
        "{action} {protocol} $HOME_NET any -> $EXTERNAL_NET any ({buffer}; {pattern} priority:1; \
         flow:to_server, established; sid:{sid};)"
    ))
}

/// A standard stateful rule as text.
pub(super) fn standard(rule: &Value) -> Result<String, String> {
    let header = |field: &str| {
        let found = rule.pointer(&format!("/Header/{field}")).and_then(Value::as_str);
        found.ok_or_else(|| format!("Header.{field} is missing"))
    };
    let any = |text: &str| {
        if text.eq_ignore_ascii_case("any") { "any".to_owned() } else { text.to_owned() }
    };
    let action = rule.get("Action").and_then(Value::as_str).ok_or("Action is missing")?;
    let arrow = if header("Direction")?.eq_ignore_ascii_case("any") { "<>" } else { "->" };
    let mut options = String::new();
    for option in rule.get("RuleOptions").and_then(Value::as_array).into_iter().flatten() {
        let keyword =
            option.get("Keyword").and_then(Value::as_str).ok_or("an option has no Keyword")?;
        let settings = option.get("Settings").and_then(Value::as_array).into_iter().flatten();
        let settings: Vec<&str> = settings.filter_map(Value::as_str).collect();
        // Some tools write the whole option as the keyword: `sid:100`.
        options.push_str(keyword);
        if !settings.is_empty() {
            options.push(':');
            options.push_str(&settings.join(","));
        }
        options.push(';');
    }
    Ok(format!(
        "{} {} {} {} {arrow} {} {} ({options})",
        action.to_ascii_lowercase(),
        header("Protocol")?.to_ascii_lowercase(),
        any(header("Source")?),
        any(header("SourcePort")?),
        any(header("Destination")?),
        any(header("DestinationPort")?),
    ))
}

/// A stateless drop, a rule for each protocol.
pub(super) fn stateless_rules(attributes: &Value, at: usize) -> Vec<Result<String, String>> {
    if attributes
        .get("TCPFlags")
        .is_some_and(|flags| flags.as_array().is_none_or(|list| !list.is_empty()))
    {
        return vec![Err("TCPFlags: a single packet's header; verdicts here are of flows".into())];
    }
    let list = |field: &str, read: &dyn Fn(&Value) -> Option<String>| {
        let items = attributes.get(field).and_then(Value::as_array).into_iter().flatten();
        let texts: Vec<String> = items.filter_map(read).collect();
        if texts.is_empty() { "any".to_owned() } else { format!("[{}]", texts.join(",")) }
    };
    let address = |item: &Value| item.get("AddressDefinition")?.as_str().map(ToOwned::to_owned);
    let range = |item: &Value| {
        let (from, to) = (item.get("FromPort")?.as_u64()?, item.get("ToPort")?.as_u64()?);
        Some(format!("{from}:{to}"))
    };
    let (source, destination) = (list("Sources", &address), list("Destinations", &address));
    let (from, to) = (list("SourcePorts", &range), list("DestinationPorts", &range));
    let protocols = attributes.get("Protocols").and_then(Value::as_array).into_iter().flatten();
    let protocols: Vec<u64> = protocols.filter_map(Value::as_u64).collect();
    let sid = 900_000_u64.saturating_add(at as u64);
    let rule = |protocol: Option<u64>| {
        let (word, extra, ports) = match protocol {
            None => ("ip", String::new(), ("any", "any")),
            Some(6) => ("tcp", String::new(), (from.as_str(), to.as_str())),
            Some(17) => ("udp", String::new(), (from.as_str(), to.as_str())),
            Some(number) => ("ip", format!("ip_proto:{number}; "), ("any", "any")),
        };
        let (from, to) = ports;
        Ok(format!("drop {word} {source} {from} -> {destination} {to} ({extra}sid:{sid};)"))
    };
    if protocols.is_empty() {
        vec![rule(None)]
    } else {
        protocols.into_iter().map(|p| rule(Some(p))).collect()
    }
}
