//! A datagram that is a DNS query with one question, read in one pass: by far the most frequent
//! message. What it is not, the longer way of [`read_query`](super::read_query) says.

use super::name::read_name;
use super::{HEADER_BYTES, QuestionTail, is_host, skip_records};
use crate::model::{App, DomainName, Fact, Facts};

/// Whether a datagram is for certain a DNS message
/// ([`dns_datagram`](crate::inspect::detect::dns_datagram)) and a well-formed query with exactly one
/// question, whose name then stands in the place of another. Where it is not, the name means nothing.
#[inline]
#[must_use]
pub fn lone_question(payload: &[u8], name: &mut DomainName) -> bool {
    let Some(&[_, _, flags, _, 0, 1, answers, a, authorities, b, additionals, c]) =
        payload.first_chunk::<HEADER_BYTES>()
    else {
        return false;
    };
    // As detection has it: a query, a notification or an update.
    if !matches!(flags >> 3, 0 | 4 | 5) {
        return false;
    }
    let Ok(behind) = read_name(payload, HEADER_BYTES, name) else { return false };
    let Some(tail) = QuestionTail::read(payload, behind) else { return false };
    let few = answers | authorities | additionals <= 1;
    if !tail.is_dns(name) || !(few || is_host(name)) {
        return false;
    }
    let counts = [[answers, a], [authorities, b], [additionals, c]].map(u16::from_be_bytes);
    counts == [0; 3] || skip_records(payload, behind.saturating_add(4), counts).is_ok()
}

/// Facts of a message with one question, whose name is yet to be written.
#[must_use]
pub fn lone_facts() -> Facts {
    let mut facts = Facts::default();
    facts.settle_without_names(App::Dns);
    facts.questions = Fact::Known(vec![DomainName::empty()]);
    facts
}

/// The name in facts of a message with one question.
#[inline]
#[must_use]
pub fn lone_name(facts: &mut Facts) -> Option<&mut DomainName> {
    match &mut facts.questions {
        Fact::Known(names) => match names.as_mut_slice() {
            [name] => Some(name),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
#[path = "lone_tests.rs"]
mod tests;
