//! Contents of a name buffer (`tls.sni`, `http.host`, `dns.query`, `quic.sni`) as name patterns. A
//! pattern is the same set of names, or the contents are refused with what would be needed.

use super::syntax::RuleOption;
use crate::policy::names::NamePattern;

/// Patterns one expression may expand to.
const PATTERNS_MAX: usize = 256;

/// What a buffer is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer {
    /// The buffer is compared as it is sent: upper case counts.
    keeps_case: bool,
    dotprefix: bool,
    contents: Vec<Content>,
    expressions: Vec<(String, bool)>,
    size: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    text: String,
    negated: bool,
    nocase: bool,
    starts: bool,
    ends: bool,
    offset: Option<usize>,
    depth: Option<usize>,
    relative: Option<String>,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patterns {
    /// Any of these; none asks for nothing but that there is a name.
    pub(super) patterns: Vec<String>,
    /// Where the pattern is wider or narrower than the contents.
    pub(super) notes: Vec<String>,
    /// What is right as written and often not meant.
    pub(super) hints: Vec<String>,
}

impl Buffer {
    /// A buffer that is asked for nothing yet.
    pub(super) fn new(keeps_case: bool) -> Self {
        Self { keeps_case, ..Self::default() }
    }

    /// Takes an option that belongs to the buffer; false if it does not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn take(&mut self, option: &RuleOption) -> Result<bool, String> {
        let value = option.value.as_deref();
        match option.name.as_str() {
            "content" => self.contents.push(content(value.unwrap_or_default())?),
            "dotprefix" if self.contents.is_empty() => self.dotprefix = true,
            "dotprefix" => return Err("`dotprefix` stands before `content`".into()),
            "bsize" => self.size = Some(number(value)?),
            "pcre" => self.expressions.push(expression(value.unwrap_or_default())?),
            "nocase" | "startswith" | "endswith" | "offset" | "depth" | "distance" | "within" => {
                let name = option.name.as_str();
                let Some(last) = self.contents.last_mut() else {
                    return Err(format!("`{name}` has no `content` before it"));
                };
                last.modify(name, value)?;
            }
            "fast_pattern" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The names it stands for.
    ///
    /// # Errors
    /// What no pattern can say.
    pub(super) fn patterns(&self) -> Result<Patterns, String> {
        let mut found = Patterns::default();
        if let Some((pattern, folded)) = self.expressions.first() {
            if self.expressions.len() > 1 || !self.contents.is_empty() {
                return Err(
                    "several conditions on one name (`pcre` beside others) are not one pattern"
                        .into(),
                );
            }
            found.patterns = expanded(pattern)?;
            self.note_case(*folded, &mut found);
        } else {
            found.patterns = self.globs(&mut found)?;
        }
        if let Some(pattern) = found.patterns.iter().find(|pattern| pattern.ends_with('.')) {
            return Err(format!("`{pattern}` ends with a dot, which names here never do"));
        }
        if let Some(pattern) = found.patterns.iter().find(|pattern| may_be_address(pattern)) {
            found.notes.push(format!(
                "`{pattern}` may be part of an address, and one given as a name matches in Suricata; \
                 here an address is no name"
            ));
        }
        for pattern in &mut found.patterns {
            let read = NamePattern::parse(pattern)
                .map_err(|fault| format!("`{pattern}` is no pattern of names: {fault}"))?;
            *pattern = read.to_string();
        }
        Ok(found)
    }

    /// The text, if the buffer is asked for that one alone.
    pub(super) fn only_content(&self) -> Option<&str> {
        match self.contents.as_slice() {
            [only] if !only.negated && self.expressions.is_empty() => Some(&only.text),
            _ => None,
        }
    }

    fn note_case(&self, folded: bool, found: &mut Patterns) {
        if self.keeps_case && !folded {
            found.notes.push(
                "without `nocase` Suricata compares letters by case; here case never counts".into(),
            );
        }
    }

    fn globs(&self, found: &mut Patterns) -> Result<Vec<String>, String> {
        if let Some(content) = self.contents.iter().find(|content| content.negated) {
            return Err(format!(
                "all names but `{}` cannot be asked for; write a rule for those names before it",
                content.text
            ));
        }
        let (first, rest) = match self.contents.split_first() {
            None if self.size.is_some() => {
                return Err("`bsize` without `content` is no pattern".into());
            }
            None => return Ok(Vec::new()),
            Some(split) => split,
        };
        self.note_case(self.contents.iter().all(|content| content.nocase), found);
        if !self.keeps_case
            && self.contents.iter().any(|c| c.text.bytes().any(|b| b.is_ascii_uppercase()))
        {
            return Err("the buffer is lower case in Suricata, so upper case never matches".into());
        }
        let anchored = first.is_anchored(self.size)?;
        if rest.is_empty() {
            return self.one(first, anchored, found);
        }
        if self.dotprefix || self.size.is_some() {
            return Err("several contents with `dotprefix` or `bsize` are not one pattern".into());
        }
        let mut glob = if anchored { String::new() } else { "*".to_owned() };
        glob.push_str(&first.text);
        let mut ends = first.ends;
        for next in rest {
            // Behind the one before: `distance` says so, and so does being at the end.
            if ends || next.is_anchored(None)? || !next.follows() {
                return Err("several contents in any order are not one pattern".into());
            }
            if next.relative.is_none() {
                found.notes.push("contents that overlap match in Suricata and not here".into());
            }
            glob.push('*');
            glob.push_str(&next.text);
            ends = next.ends;
        }
        if !ends {
            glob.push('*');
        }
        Ok(vec![glob])
    }

    fn one(
        &self,
        content: &Content,
        starts: bool,
        found: &mut Patterns,
    ) -> Result<Vec<String>, String> {
        let text = &content.text;
        let whole = self.size == Some(text.len());
        if self.size.is_some() && !whole {
            return Err("`bsize` other than the content's length is no pattern".into());
        }
        if self.dotprefix {
            let name =
                text.strip_prefix('.').ok_or("behind `dotprefix` the content starts with a dot")?;
            return Ok(match (starts, content.ends) {
                (true, true) => vec![name.to_owned()],
                (false, true) => vec![format!(".{name}")],
                (true, false) => vec![format!("{name}*")],
                // The buffer is the name with a dot before it, and the content is anywhere in it.
                (false, false) => {
                    found.hints.push(format!(
                        "names that go on behind `{name}` match too; `endswith` was meant?"
                    ));
                    vec![format!("{name}*"), format!("*.{name}*")]
                }
            });
        }
        Ok(vec![match (starts || whole, content.ends || whole) {
            (true, true) => text.clone(),
            (true, false) => format!("{text}*"),
            (false, true) => match text.strip_prefix('.') {
                Some(name) => {
                    found
                        .hints
                        .push(format!("`{name}` itself does not match; `dotprefix` was meant?"));
                    format!("*.{name}")
                }
                None => {
                    found.hints.push(format!("`bad{text}` matches too; `dotprefix` was meant?"));
                    format!("*{text}")
                }
            },
            (false, false) => {
                found.hints.push(format!("every name with `{text}` in it matches"));
                format!("*{text}*")
            }
        }])
    }
}

impl Content {
    fn modify(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let once = |slot: &mut Option<usize>| match slot.replace(number(value)?) {
            Some(_) => Err(format!("`{name}` twice for one content")),
            None => Ok(()),
        };
        match name {
            "nocase" => self.nocase = true,
            "startswith" => self.starts = true,
            "endswith" => self.ends = true,
            "offset" => once(&mut self.offset)?,
            "depth" => once(&mut self.depth)?,
            _ => self.relative = Some(format!("{name}:{}", value.unwrap_or_default())),
        }
        if self.relative.is_some() && (self.offset.is_some() || self.depth.is_some()) {
            return Err("`distance` or `within` and `offset` or `depth` for one content".into());
        }
        Ok(())
    }

    /// Whether it stands at the beginning of the buffer.
    fn is_anchored(&self, size: Option<usize>) -> Result<bool, String> {
        let len = self.text.len();
        match (self.offset.unwrap_or(0), self.depth) {
            (0, None) => Ok(self.starts || size == Some(len)),
            (0, Some(depth)) if depth == len => Ok(true),
            _ => {
                Err("`offset` and `depth` are no pattern but `depth` as long as the content".into())
            }
        }
    }

    /// Whether it comes anywhere behind the content before it.
    fn follows(&self) -> bool {
        match self.relative.as_deref() {
            Some("distance:0") => true,
            Some(_) => false,
            None => self.ends,
        }
    }
}

fn number(value: Option<&str>) -> Result<usize, String> {
    let text = value.unwrap_or_default();
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// `!"text|hex|"`; the text of a name is ASCII.
fn content(value: &str) -> Result<Content, String> {
    let (negated, quoted) = match value.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inside = inside.ok_or_else(|| format!("the content {quoted} is not in double quotes"))?;
    let mut text = String::new();
    for (at, part) in inside.split('|').enumerate() {
        if at % 2 == 0 {
            text.push_str(&part.replace('\\', ""));
        } else {
            for pair in part.split_whitespace() {
                let byte = u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2);
                let byte =
                    byte.ok_or_else(|| format!("`|{part}|` is no hex: two digits a byte"))?;
                text.push(char::from(byte));
            }
        }
    }
    if inside.matches('|').count() % 2 == 1 {
        return Err(format!("a `|` of \"{inside}\" is not closed"));
    }
    if text.is_empty() {
        return Err("an empty content".into());
    }
    Ok(Content { text, negated, ..Content::default() })
}

/// `"/expression/flags"`.
fn expression(value: &str) -> Result<(String, bool), String> {
    if value.starts_with('!') {
        return Err("a negated `pcre` is no pattern".into());
    }
    let inside = value.trim_matches('"').strip_prefix('/');
    let (pattern, flags) = inside
        .and_then(|rest| rest.rsplit_once('/'))
        .ok_or("`pcre` is not \"/expression/flags\"")?;
    if let Some(flag) = flags.chars().find(|flag| !matches!(flag, 'i' | 'W' | 's')) {
        return Err(format!("the flag `{flag}` of `pcre` is no pattern"));
    }
    Ok((pattern.to_owned(), flags.contains('i')))
}

/// A regular expression of literals, `.*`, alternatives and `?` as patterns with `*`.
fn expanded(pattern: &str) -> Result<Vec<String>, String> {
    let refuse = |what: &str| Err(format!("{what} in `pcre` is no pattern of names"));
    if pattern.contains("(?!") || pattern.contains("(?<") || pattern.contains("(?=") {
        return refuse("look-around");
    }
    let (starts, body) = match pattern.strip_prefix('^') {
        Some(body) => (true, body),
        None => (false, pattern),
    };
    let (ends, body) = match body.strip_suffix('$') {
        Some(body) if !body.ends_with('\\') => (true, body),
        _ => (false, body),
    };
    let mut rest = body.chars().peekable();
    let found = alternatives(&mut rest, 0)?;
    if rest.next().is_some() {
        return refuse("a bracket too many");
    }
    let dressed = found.into_iter().map(|text| {
        let (before, behind) = (if starts { "" } else { "*" }, if ends { "" } else { "*" });
        format!("{before}{text}{behind}")
    });
    Ok(dressed.collect())
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn alternatives(rest: &mut Rest<'_>, depth: usize) -> Result<Vec<String>, String> {
    if depth > 8 {
        return Err("`pcre` is nested too deep".into());
    }
    let mut all = Vec::new();
    let mut so_far = vec![String::new()];
    while let Some(&c) = rest.peek() {
        match c {
            ')' if depth > 0 => break,
            '|' => {
                rest.next();
                all.append(&mut so_far);
                so_far.push(String::new());
                continue;
            }
            _ => {}
        }
        let piece = piece(rest, depth)?;
        so_far = so_far
            .iter()
            .flat_map(|before| piece.iter().map(move |behind| format!("{before}{behind}")))
            .collect();
        if so_far.len().saturating_add(all.len()) > PATTERNS_MAX {
            return Err(format!("`pcre` comes to more than {PATTERNS_MAX} patterns"));
        }
    }
    all.append(&mut so_far);
    Ok(all)
}

fn piece(rest: &mut Rest<'_>, depth: usize) -> Result<Vec<String>, String> {
    let refuse = |what: &str| Err(format!("`{what}` in `pcre` is no pattern of names"));
    let mut piece = match rest.next() {
        Some('(') => {
            if rest.peek() == Some(&'?') {
                rest.next();
                if rest.next() != Some(':') {
                    return refuse("(?");
                }
            }
            let inside = alternatives(rest, depth.saturating_add(1))?;
            match rest.next() {
                Some(')') => inside,
                _ => return refuse("("),
            }
        }
        Some('.') => match rest.next() {
            Some('*') => vec!["*".to_owned()],
            _ => return refuse(". without *"),
        },
        Some('\\') => match rest.next() {
            Some(c) if !c.is_ascii_alphanumeric() => vec![c.to_string()],
            other => return refuse(&format!("\\{}", other.unwrap_or(' '))),
        },
        Some(c) if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => vec![c.to_string()],
        Some(c) => return refuse(&c.to_string()),
        None => return refuse("the end"),
    };
    match rest.peek() {
        Some('?') => {
            rest.next();
            piece.push(String::new());
        }
        Some(c @ ('*' | '+' | '{')) => return refuse(&c.to_string()),
        _ => {}
    }
    Ok(piece)
}

/// Whether an IPv4 address may match: nothing but digits, dots and stars.
fn may_be_address(pattern: &str) -> bool {
    pattern.bytes().any(|b| b.is_ascii_digit())
        && pattern.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::import::syntax::Rule;

    fn read(options: &str) -> Result<Patterns, String> {
        let rule = Rule::parse(&format!("pass tls any any -> any any ({options})"))?;
        let mut buffer = Buffer::new(true);
        for option in &rule.options {
            if !buffer.take(option)? {
                return Err(format!("{} is not taken", option.name));
            }
        }
        buffer.patterns()
    }

    #[test]
    fn patterns_that_addresses_match_are_noted() {
        for (content, noted) in [("192.", true), ("10.0.0.1", true), ("1e", false), ("a.1", false)]
        {
            let found = read(&format!("content:\"{content}\"; nocase;")).unwrap();
            assert_eq!(found.notes.len(), usize::from(noted), "{content}: {:?}", found.notes);
        }
    }

    #[test]
    fn contents_become_the_patterns_they_stand_for() {
        for (options, want) in [
            ("dotprefix; content:\".example.com\"; nocase; endswith;", ".example.com"),
            ("content:\"api.example.com\"; startswith; nocase; endswith;", "api.example.com"),
            ("content:\"api.example.com\"; nocase; bsize:15;", "api.example.com"),
            ("content:\"api.example.com\"; depth:15; nocase; endswith;", "api.example.com"),
            ("content:\".example.com\"; nocase; endswith;", "*.example.com"),
            ("content:\"example.com\"; nocase; endswith;", "*example.com"),
            ("content:\"api-\"; startswith; nocase;", "api-*"),
            ("content:\"google\"; nocase;", "*google*"),
            ("dotprefix; content:\".a.com\"; nocase;", "a.com* *.a.com*"),
            (
                "content:\"api\"; startswith; nocase; content:\".com\"; distance:0; nocase;",
                "api*.com*",
            ),
            ("content:\"goo|67 6C|e\"; nocase;", "*google*"),
            ("pcre:\"/^(a|b)\\.example\\.com$/i\";", "a.example.com b.example.com"),
            ("pcre:\"/\\.(ru|cn)$/i\";", "*.ru *.cn"),
            ("pcre:\"/^api.*\\.example\\.(com|net)?$/i\";", "api*.example.com api*.example.net"),
        ] {
            let found = read(options).map(|found| found.patterns.join(" "));
            if options.ends_with("?$/i\";") {
                assert!(found.is_err(), "an empty end is no name: {found:?}");
            } else {
                assert_eq!(found.as_deref(), Ok(want), "{options}");
            }
        }
        assert_eq!(read("content:\"a.b\"; nocase; bsize:3;").map(|p| p.notes.len()), Ok(0));
        assert_eq!(read("content:\"a.b\"; bsize:3;").map(|p| p.notes.len()), Ok(1));
    }

    #[test]
    fn what_no_pattern_can_say_is_refused_with_the_reason() {
        for (options, why) in [
            ("content:!\".google.com\"; endswith;", "all names but"),
            ("content:\"a\"; content:\"b\";", "any order"),
            ("content:\"|22 2 22|\";", "is no hex"),
            ("content:\"|1\";", "is no hex"),
            ("content:\"|11\";", "is not closed"),
            ("content:AA;", "double quotes"),
            ("content:\"AA\"; offset:20; offset:20;", "twice"),
            ("content:\"BB\"; depth:50; distance:5;", "for one content"),
            ("content:\"BB\"; offset:3;", "are no pattern"),
            ("depth:50;", "no `content` before it"),
            ("content:\"a\"; dotprefix;", "before `content`"),
            ("pcre:\"/^(?:[0-9]{1,3}\\.){3}[0-9]{1,3}$/\";", "is no pattern"),
            ("pcre:\"/^(?!x)/\";", "look-around"),
            ("content:\"a b\"; nocase;", "is no pattern of names"),
        ] {
            let fault = read(options).unwrap_err();
            assert!(fault.contains(why), "{options}: {fault}");
        }
    }
}
