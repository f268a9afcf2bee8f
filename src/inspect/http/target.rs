//! Which host a request is for: from Host, from the request target, from `:authority`. It does not
//! know where in a message those stand.

use crate::model::{Addr, App, DomainName, Fact, Facts, NameFault};
use std::sync::Arc;

/// A host as a request names it, its port left out. Borrowed, so that a name is made only where it
/// is told, and not at all where it is the one told before.
#[derive(Clone, Copy, Debug)]
pub(in crate::inspect) enum Host<'a> {
    /// The field is there and empty, or there is none.
    None,
    /// An IP address, which is no name.
    Address(Addr),
    /// A name, not yet known to be a valid one.
    Name(&'a [u8]),
}

impl PartialEq for Host<'_> {
    /// Names are the same whatever their case, and with or without the trailing dot.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Address(one), Self::Address(other)) => one == other,
            (Self::Name(one), Self::Name(other)) => {
                undotted(one).eq_ignore_ascii_case(undotted(other))
            }
            _ => false,
        }
    }
}

/// A port that is none, a bracket without its pair, userinfo: recipients differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inspect) struct Unclear;

/// A port has at most five digits.
const PORT_LIMIT_DIGITS: usize = 5;

impl<'a> Host<'a> {
    /// Reads `uri-host [ ":" port ]` (RFC 9110 section 7.2).
    #[inline]
    pub(in crate::inspect) fn parse(text: &'a [u8]) -> Result<Self, Unclear> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        let name = Self::without_port(text)?;
        match name {
            [b'[', ..] => address(name).map(Self::Address).ok_or(Unclear),
            _ if !may_be_address(name) => Ok(Self::Name(name)),
            _ => Ok(address(name).map_or(Self::Name(name), Self::Address)),
        }
    }

    /// The host's own bytes. An IPv6 address without brackets is taken as it stands.
    #[inline]
    fn without_port(text: &[u8]) -> Result<&[u8], Unclear> {
        let end = if text.first() == Some(&b'[') {
            text.iter().position(|&b| b == b']').map(|at| at.saturating_add(1)).ok_or(Unclear)?
        } else {
            text.iter().position(|&b| b == b':').unwrap_or(text.len())
        };
        let (name, port) = text.split_at_checked(end).ok_or(Unclear)?;
        match port.split_first() {
            None => Ok(name),
            Some((b':', digits))
                if !name.is_empty()
                    && digits.len() <= PORT_LIMIT_DIGITS
                    && digits.iter().all(u8::is_ascii_digit) =>
            {
                Ok(name)
            }
            _ if address(text).is_some() => Ok(text),
            _ => Err(Unclear),
        }
    }

    /// Reads the authority of an absolute-form target (RFC 9112 section 3.2.2). Only a target that
    /// has a scheme and an authority is one; userinfo is refused (RFC 9110 section 4.2.4).
    pub(in crate::inspect) fn of_absolute(target: &'a [u8]) -> Result<Self, Unclear> {
        let scheme = target.iter().position(|b| !is_scheme(*b)).ok_or(Unclear)?;
        let (scheme, rest) = target.split_at_checked(scheme).ok_or(Unclear)?;
        let rest = rest.strip_prefix(b"://").ok_or(Unclear)?;
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let authority = rest.get(..end).ok_or(Unclear)?;
        let starts = scheme.first().is_some_and(u8::is_ascii_alphabetic);
        if !starts || authority.is_empty() || authority.contains(&b'@') {
            return Err(Unclear);
        }
        Self::parse(authority)
    }

    /// Makes the facts those of a new HTTP message for this host.
    ///
    /// # Errors
    /// The name is no valid one; it is absent then.
    #[inline]
    pub(in crate::inspect) fn tell(self, facts: &mut Facts) -> Result<(), NameFault> {
        let before = std::mem::take(&mut facts.domain);
        facts.settle_without_names(App::Http);
        let name = match self {
            Self::Name(name) => name,
            Self::Address(address) => {
                facts.host_address = Some(address);
                return Ok(());
            }
            Self::None => return Ok(()),
        };
        facts.domain = match before {
            Fact::Known(known) if known.as_bytes().eq_ignore_ascii_case(undotted(name)) => {
                Fact::Known(known)
            }
            _ => Fact::Known(Arc::new(DomainName::from_host(name)?)),
        };
        Ok(())
    }
}

fn undotted(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

/// Whether it is worth asking if this is an address: one has a colon or ends in a digit, and a
/// trailing dot makes neither.
fn may_be_address(name: &[u8]) -> bool {
    undotted(name).last().is_some_and(u8::is_ascii_digit) || name.contains(&b':')
}

/// The address a literal stands for, with or without brackets.
fn address(text: &[u8]) -> Option<Addr> {
    Addr::from_host(undotted(text))
}

/// A byte of a URI scheme (RFC 3986 section 3.1).
const fn is_scheme(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<Host<'_>, Unclear> {
        Ok(Host::Name(text.as_bytes()))
    }

    /// What is told of a host.
    fn told(text: &str) -> Result<Option<String>, NameFault> {
        let mut facts = Facts::default();
        Host::parse(text.as_bytes()).unwrap().tell(&mut facts)?;
        assert_eq!(facts.app, Fact::Known(App::Http));
        Ok(facts.domain.known().map(|name| name.to_string()))
    }

    #[test]
    fn ports_case_and_the_trailing_dot_are_no_part_of_the_name() {
        for text in ["a.example", "A.Example:80", "a.example.", "a.example:", "a.example.:65535"] {
            assert_eq!(Host::parse(text.as_bytes()), name("a.example"), "{text}");
            assert_eq!(told(text), Ok(Some("a.example".to_owned())));
        }
    }

    #[test]
    fn addresses_are_no_names() {
        for text in [
            "192.0.2.1",
            "192.0.2.1:80",
            "192.0.2.1.",
            "[2001:db8::1]",
            "[::1]:8080",
            "2001:db8::1",
        ] {
            assert!(matches!(Host::parse(text.as_bytes()), Ok(Host::Address(_))), "{text}");
            assert_eq!(told(text), Ok(None));
        }
        assert_eq!(Host::parse(b""), Ok(Host::None));
        assert_eq!(told(""), Ok(None));
    }

    #[test]
    fn what_recipients_read_differently_is_refused() {
        for text in ["a:b", "a:80:80", "a:123456", ":80", "[::1", "[::1]x", "[x]", "a:8 0", "a:-1"]
        {
            assert_eq!(Host::parse(text.as_bytes()), Err(Unclear), "{text}");
        }
        for text in ["u@a", "a b", "a,b", "a..b", "%61.example", "a/b", "a\\b", "b\u{fc}cher", "."]
        {
            assert!(told(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_end_at_five_digits() {
        for (port, fits) in [("6553", true), ("65535", true), ("655350", false)] {
            assert_eq!(Host::parse(format!("a:{port}").as_bytes()).is_ok(), fits);
        }
    }

    #[test]
    fn absolute_targets_have_a_scheme_and_an_authority() {
        for target in ["http://A.example/x", "http://a.example:80?q", "ws+x://a.example#f"] {
            assert_eq!(Host::of_absolute(target.as_bytes()), name("a.example"), "{target}");
        }
        for target in ["a.example/", "http:/a", "http:///x", "1http://a/", "http://u@a/", "http:a"]
        {
            assert_eq!(Host::of_absolute(target.as_bytes()), Err(Unclear), "{target}");
        }
    }

    #[test]
    fn the_same_name_again_is_not_made_anew() {
        let mut facts = Facts::default();
        Host::parse(b"a.example").unwrap().tell(&mut facts).unwrap();
        let first = facts.domain.known().unwrap().clone();
        Host::parse(b"A.EXAMPLE").unwrap().tell(&mut facts).unwrap();
        assert!(Arc::ptr_eq(&first, facts.domain.known().unwrap()));
        Host::parse(b"b.example").unwrap().tell(&mut facts).unwrap();
        assert_eq!(facts.domain.known().unwrap().to_string(), "b.example");
        Host::None.tell(&mut facts).unwrap();
        assert_eq!(facts.domain, Fact::Absent);
    }

    #[test]
    fn an_address_is_told_for_the_record_and_is_no_name() {
        for (text, address) in [("192.0.2.1:80", "192.0.2.1"), ("[2001:db8::1]:80", "2001:db8::1")]
        {
            let mut facts = Facts::default();
            Host::parse(text.as_bytes()).unwrap().tell(&mut facts).unwrap();
            assert_eq!(facts.domain, Fact::Absent);
            assert_eq!(facts.host_address.map(|found| found.to_string()).as_deref(), Some(address));
        }
    }
}
