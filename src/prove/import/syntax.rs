//! The written form of Suricata rules: lines, header, options. What they mean is next door.

use std::fmt;

/// The longest rule that is read; AWS Network Firewall takes 8192 characters after variables.
pub const RULE_LIMIT_BYTES: usize = 64 * 1024;
/// Options of one rule.
const OPTIONS_MAX: usize = 512;

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleAction {
    /// Let pass, and stop looking.
    Pass,
    /// Drop.
    Drop,
    /// Drop and answer.
    Reject,
    /// Write a log line only.
    Alert,
}

impl RuleAction {
    /// The word in rules.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Alert => "alert",
        }
    }
}

/// One rule as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its first word.
    pub action: RuleAction,
    /// Protocol.
    pub protocol: String,
    /// Source addresses.
    pub source: String,
    /// Source ports.
    pub source_port: String,
    /// `<>`: either way.
    pub both_ways: bool,
    /// Destination addresses.
    pub destination: String,
    /// Destination ports.
    pub destination_port: String,
    /// In order.
    pub options: Vec<RuleOption>,
}

/// `name` or `name:value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOption {
    /// The keyword.
    pub name: String,
    /// What is behind the colon, trimmed.
    pub value: Option<String>,
}

/// A rule with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its first line, from 1.
    pub number: usize,
    /// The rule, or why it is none.
    pub rule: Result<Rule, String>,
    /// The text, continuation lines joined.
    pub text: String,
}

/// Every rule of a file; comments and empty lines are passed over.
#[must_use]
pub fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        let (number, joined) = match pending.take() {
            Some((number, before)) => (number, before + line.trim_start()),
            None => (at.saturating_add(1), line.trim().trim_start_matches('\u{feff}').to_owned()),
        };
        if let Some(before) = joined.strip_suffix('\\').filter(|b| b.len() < RULE_LIMIT_BYTES) {
            pending = Some((number, before.to_owned()));
            continue;
        }
        found.extend(line_of(number, &joined));
    }
    found.extend(pending.and_then(|(number, text)| line_of(number, &text)));
    found
}

fn line_of(number: usize, text: &str) -> Option<Line> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    Some(Line { number, rule: Rule::parse(text), text: text.to_owned() })
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > RULE_LIMIT_BYTES {
            return Err(format!("the rule is longer than {RULE_LIMIT_BYTES} bytes"));
        }
        if let Some(at) = text.find("${") {
            return Err(format!("a template is not filled in at character {}", at + 1));
        }
        let (header, options) = text.split_once('(').ok_or("there is no `(` with options")?;
        let options =
            options.trim_end().strip_suffix(')').ok_or("the options do not end with `)`")?;
        let words = words(header);
        let [action, protocol, source, source_port, arrow, destination, destination_port] =
            <[String; 7]>::try_from(words).map_err(|words| {
                let count = words.len();
                format!(
                    "the header has {count} words, not 7: action protocol source port -> destination port"
                )
            })?;
        let action = match action.as_str() {
            "pass" => RuleAction::Pass,
            "drop" => RuleAction::Drop,
            "reject" | "rejectsrc" | "rejectdst" | "rejectboth" => RuleAction::Reject,
            "alert" => RuleAction::Alert,
            other => return Err(format!("`{other}` is no action; pass, drop, reject or alert")),
        };
        let both_ways = match arrow.as_str() {
            "->" => false,
            "<>" => true,
            "→" | "⇒" => {
                return Err(format!("`{arrow}` is a character of text editors; write `->`"));
            }
            other => return Err(format!("`{other}` is no direction; write `->` or `<>`")),
        };
        let options = self::options(options)?;
        Ok(Self {
            action,
            protocol: protocol.to_ascii_lowercase(),
            source,
            source_port,
            both_ways,
            destination,
            destination_port,
            options,
        })
    }

    /// The value of the last option of this name.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().rev().find(|option| option.name == name);
        found.and_then(|option| option.value.as_deref())
    }

    /// The rule's number, as it is written.
    #[must_use]
    pub fn sid(&self) -> Option<u64> {
        self.last("sid").and_then(|sid| sid.parse().ok())
    }

    /// The rule's text for people, without quotes.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        self.last("msg").map(|msg| msg.trim_matches('"').replace("\\", ""))
    }
}

impl fmt::Display for Rule {
    /// The header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.both_ways { "<>" } else { "->" };
        write!(
            f,
            "{} {} {} {} {arrow} {} {}",
            self.action.name(),
            self.protocol,
            self.source,
            self.source_port,
            self.destination,
            self.destination_port
        )
    }
}

/// Words of a header; spaces inside brackets divide nothing.
fn words(header: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut depth) = (String::new(), 0_usize);
    for c in header.chars() {
        match c {
            '[' => depth = depth.saturating_add(1),
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() {
            if depth == 0 && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn options(text: &str) -> Result<Vec<RuleOption>, String> {
    let mut options = Vec::new();
    for part in parts(text)? {
        let (name, value) = match part.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
            None => (part.trim(), None),
        };
        if name.is_empty() {
            return Err("an option without a name: two `;` in a row".into());
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return Err(format!("`{name}` is no option"));
        }
        if options.len() >= OPTIONS_MAX {
            return Err(format!("more than {OPTIONS_MAX} options"));
        }
        options.push(RuleOption { name: name.to_ascii_lowercase(), value });
    }
    Ok(options)
}

/// What stands between semicolons; those in quotes or behind a backslash divide nothing.
fn parts(text: &str) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let (mut part, mut quoted, mut escaped) = (String::new(), false, false);
    for c in text.chars() {
        match c {
            ';' if !quoted && !escaped => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            '“' | '”' => return Err(format!("`{c}` is a quote of text editors; write `\"`")),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        part.push(c);
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    if !part.trim().is_empty() {
        return Err(format!("`{}` has no `;` behind it", part.trim()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_with_their_traps() {
        let rule = Rule::parse(
            "pass tls [10.0.0.0/16, 10.2.0.0/16] any -> $EXTERNAL_NET [443,8443] (tls.sni; content:\"a.b\"; \
             msg:\"not sid:9\\; really\"; flow: to_server, established; sid:021420241; rev:1;)",
        )
        .unwrap();
        assert_eq!(rule.source, "[10.0.0.0/16,10.2.0.0/16]");
        assert_eq!(rule.sid(), Some(21_420_241));
        assert_eq!(rule.message().as_deref(), Some("not sid:9; really"));
        assert_eq!(rule.last("flow"), Some("to_server, established"));
        assert_eq!(rule.options.first().map(|o| o.name.as_str()), Some("tls.sni"));
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (text, why) in [
            ("drop tcp any any → any any (sid:1;)", "write `->`"),
            ("drop tcp any any -> any any (msg:“x”; sid:1;)", "a quote of text editors"),
            ("drop tcp any any -> any any (content:\"B\";; sid:1;)", "two `;` in a row"),
            ("drop tcp any any -> any any", "no `(`"),
            ("drop tcp any -> any any (sid:1;)", "6 words, not 7"),
            ("log tcp any any -> any any (sid:1;)", "`log` is no action"),
            ("drop tcp any any -> any any (msg:\"x; sid:1;)", "a quote is not closed"),
            ("drop tcp any any -> any any (sid:1)", "no `;` behind it"),
            (
                "drop tcp ${home} any -> any any (sid:1;)",
                "template is not filled in at character 10",
            ),
        ] {
            let fault = Rule::parse(text).unwrap_err();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }

    #[test]
    fn lines_continue_and_comments_are_passed_over() {
        let text = "# one\n\ndrop tcp any any -> \\\n  any any (sid:1;)\n#drop\npass";
        let found = lines(text);
        let numbers: Vec<(usize, bool)> =
            found.iter().map(|l| (l.number, l.rule.is_ok())).collect();
        assert_eq!(numbers, [(3, true), (6, false)]);
    }
}
