//! What a DNS response answers: addresses and aliases with the time they may be kept. Remembers
//! nothing; whether the server is believed is the caller's decision.

use super::name::{NameError, name_at, skip_name};
use super::{HEADER_BYTES, Header, QUESTION_LIMIT, Question, Record};
use crate::inspect::bytes::Reader;
use crate::model::{Addr, DomainName, Reason};

/// Records of one answer section that are read; what stands behind is left out.
pub const ANSWER_LIMIT: u16 = 256;
/// Aliases followed from a question to its addresses.
pub const ALIAS_LIMIT: usize = 16;

/// Addresses in one message; real messages are too short for more.
pub const ADDRESS_LIMIT: usize = 1024;

const KIND_A: u16 = 1;
const KIND_CNAME: u16 = 5;
const KIND_AAAA: u16 = 28;
const KIND_SVCB: u16 = 64;
const KIND_HTTPS: u16 = 65;
/// Keys of service parameters (RFC 9460 section 14.3.2).
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;
const CLASS_IN: u16 = 1;
/// The top bit of a class, which resolvers that know multicast DNS take away (RFC 6762 section 10.2).
const CACHE_FLUSH: u16 = 0x8000;

/// What a record says of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A or AAAA.
    Address(Addr),
    /// CNAME.
    Alias(&'a DomainName),
}

/// Calls `visit` with owner, answer and seconds to live for every A, AAAA and CNAME record of the
/// answer section of a successful response, in order; at most [`ANSWER_LIMIT`] records are read.
///
/// # Errors
/// [`Reason::DnsMalformed`] if it is no response or a record is malformed; what was visited before
/// stands. A response that is cut (TC) ends without an error at the cut.
pub fn answers(
    message: &[u8],
    mut visit: impl FnMut(&DomainName, Answer<'_>, u32),
) -> Result<(), Reason> {
    let Some((header, start)) = answer_section(message)? else { return Ok(()) };
    let mut at = start;
    for _ in 0..header.answers.min(ANSWER_LIMIT) {
        at = match visit_record(message, at, &mut visit) {
            Ok(behind) => behind,
            Err(_) if header.is_truncated() => return Ok(()),
            Err(_) => return Err(Reason::DnsMalformed),
        };
    }
    Ok(())
}

/// Every address a message names, in whatever section, as A, AAAA or address hint of SVCB and HTTPS
/// (RFC 9460 section 7.3): all that a client might connect to because of it.
///
/// # Errors
/// [`Reason::DnsMalformed`] if a record is malformed, but for where a message that says that it was
/// cut (TC) ends; [`Reason::LimitInspection`] beyond [`ADDRESS_LIMIT`].
pub fn addresses(message: &[u8]) -> Result<Vec<Addr>, Reason> {
    let header = Header::read(message).ok_or(Reason::DnsMalformed)?;
    if header.questions > QUESTION_LIMIT {
        return Err(Reason::DnsMalformed);
    }
    let mut at = HEADER_BYTES;
    for _ in 0..header.questions {
        at = Question::read(message, at).map_err(|_| Reason::DnsMalformed)?.1;
    }
    let records = [header.answers, header.authorities, header.additionals];
    let mut found = Vec::new();
    for _ in 0..records.iter().map(|&count| u32::from(count)).sum() {
        let (record, behind) = match Record::read(message, at) {
            Ok(read) => read,
            Err(NameError::Truncated) if header.is_truncated() => return Ok(found),
            Err(_) => return Err(Reason::DnsMalformed),
        };
        let data = message.get(record.data..behind).unwrap_or_default();
        name_addresses(message, &record, data, &mut found).ok_or(Reason::DnsMalformed)?;
        if found.len() > ADDRESS_LIMIT {
            return Err(Reason::LimitInspection);
        }
        at = behind;
    }
    Ok(found)
}

/// Adds the addresses of one record; none of another class than IN.
fn name_addresses(message: &[u8], record: &Record, data: &[u8], to: &mut Vec<Addr>) -> Option<()> {
    match record.kind {
        _ if record.class & !CACHE_FLUSH != CLASS_IN => {}
        KIND_A => to.push(Addr::v4(data.try_into().ok()?)),
        KIND_AAAA => to.push(Addr::v6(data.try_into().ok()?)),
        KIND_SVCB | KIND_HTTPS => {
            // Priority, target, then parameters (RFC 9460 section 2.2).
            let target = record.data.checked_add(2)?;
            let behind = skip_name(message, target).ok()?.checked_sub(record.data)?;
            let mut parameters = Reader::new(data.get(behind..)?);
            while !parameters.is_empty() {
                let (key, value) = (parameters.u16()?, parameters.vec16()?);
                match key {
                    IPV4_HINT => to.extend(value.chunks(4).map_while(v4)),
                    IPV6_HINT => to.extend(value.chunks(16).map_while(v6)),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Some(())
}

fn v4(bytes: &[u8]) -> Option<Addr> {
    bytes.try_into().ok().map(Addr::v4)
}

fn v6(bytes: &[u8]) -> Option<Addr> {
    bytes.try_into().ok().map(Addr::v6)
}

/// Calls `visit` with the question's name, an address and seconds to live for every address the
/// question leads to, directly or through at most [`ALIAS_LIMIT`] aliases; the time is the
/// shortest on the way. A response with none or several questions binds nothing.
///
/// # Errors
/// As [`answers`]; then nothing was visited.
pub fn bindings(
    message: &[u8],
    mut visit: impl FnMut(&DomainName, Addr, u32),
) -> Result<(), Reason> {
    answers(message, |_, _, _| ())?;
    let Some(question) = sole_question(message) else { return Ok(()) };
    let mut name = question.name;
    let mut limit = u32::MAX;
    for _ in 0..=ALIAS_LIMIT {
        let mut next = None;
        answers(message, |owner, answer, ttl| {
            if *owner != name {
                return;
            }
            match answer {
                Answer::Address(address) => visit(&question.name, address, ttl.min(limit)),
                Answer::Alias(target) => next = next.or(Some((*target, ttl))),
            }
        })?;
        let Some((target, ttl)) = next else { return Ok(()) };
        name = target;
        limit = limit.min(ttl);
    }
    Ok(())
}

/// The question of a message that has exactly one.
#[must_use]
pub fn sole_question(message: &[u8]) -> Option<Question> {
    let header = Header::read(message)?;
    if header.questions != 1 {
        return None;
    }
    Question::read(message, HEADER_BYTES).ok().map(|(question, _)| question)
}

/// Where the answers of a successful response start; `None` where there are none to read.
fn answer_section(message: &[u8]) -> Result<Option<(Header, usize)>, Reason> {
    let header = Header::read(message).ok_or(Reason::DnsMalformed)?;
    if !header.is_response() || header.questions > QUESTION_LIMIT {
        return Err(Reason::DnsMalformed);
    }
    if header.opcode() != 0 || header.rcode() != 0 {
        return Ok(None);
    }
    let mut at = HEADER_BYTES;
    for _ in 0..header.questions {
        at = Question::read(message, at).map_err(|_| Reason::DnsMalformed)?.1;
    }
    Ok(Some((header, at)))
}

/// Visits the record at `at` if it is of interest; the position behind it.
fn visit_record(
    message: &[u8],
    at: usize,
    visit: &mut impl FnMut(&DomainName, Answer<'_>, u32),
) -> Result<usize, NameError> {
    let (record, behind) = Record::read(message, at)?;
    if record.class != CLASS_IN || !matches!(record.kind, KIND_A | KIND_AAAA | KIND_CNAME) {
        return Ok(behind);
    }
    let (owner, _) = name_at(message, record.owner)?;
    // RFC 2181 section 8: a time with its top bit set is taken as zero.
    let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
    let data = message.get(record.data..behind).unwrap_or_default();
    if record.kind == KIND_CNAME {
        let (target, end) = name_at(message, record.data)?;
        if end != behind {
            return Err(NameError::Malformed);
        }
        visit(&owner, Answer::Alias(&target), ttl);
        return Ok(behind);
    }
    let address = match record.kind {
        KIND_A => data.try_into().map(Addr::v4),
        _ => data.try_into().map(Addr::v6),
    };
    visit(&owner, Answer::Address(address.map_err(|_| NameError::Malformed)?), ttl);
    Ok(behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::rdata::{A, AAAA, CNAME, HTTPS, RData, SVCB, SVCParam};
    use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question as Asked, ResourceRecord, TYPE};

    fn response(records: Vec<(&'static str, u32, RData<'static>)>) -> Vec<u8> {
        let mut packet = Packet::new_reply(7);
        packet.questions.push(Asked::new(
            Name::new_unchecked("Api.example"),
            QTYPE::TYPE(TYPE::A),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        for (owner, ttl, data) in records {
            let owner = Name::new_unchecked(owner);
            packet.answers.push(ResourceRecord::new(owner, CLASS::IN, ttl, data));
        }
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn alias(to: &'static str) -> RData<'static> {
        RData::CNAME(CNAME(Name::new_unchecked(to)))
    }

    fn bound(message: &[u8]) -> Vec<(String, String, u32)> {
        let mut found = Vec::new();
        bindings(message, |name, addr, ttl| found.push((name.to_string(), addr.to_string(), ttl)))
            .unwrap();
        found
    }

    #[test]
    fn addresses_are_bound_to_the_question_through_aliases_in_any_order() {
        let records = vec![
            ("cdn.example", 20, RData::A(A { address: 0xc000_0201 })),
            ("other.example", 20, RData::A(A { address: 0xc000_0209 })),
            ("api.EXAMPLE", 60, alias("Edge.example")),
            ("edge.example", 10, alias("cdn.example")),
            ("cdn.example", 5, RData::AAAA(AAAA { address: 0x2001_0db8 << 96 | 1 })),
        ];
        let name = || "api.example".to_owned();
        assert_eq!(
            bound(&response(records)),
            [(name(), "192.0.2.1".to_owned(), 10), (name(), "2001:db8::1".to_owned(), 5)]
        );
    }

    #[test]
    fn aliases_end_at_their_limit_and_loops_end() {
        for (aliases, found) in [(ALIAS_LIMIT - 1, 1), (ALIAS_LIMIT, 1), (ALIAS_LIMIT + 1, 0)] {
            let mut packet = Packet::new_reply(7);
            let name = |i: usize| Name::new(&format!("n{i}.example")).unwrap().into_owned();
            packet.questions.push(Asked::new(
                name(0),
                QTYPE::TYPE(TYPE::A),
                QCLASS::CLASS(CLASS::IN),
                false,
            ));
            for i in 0..aliases {
                let data = RData::CNAME(CNAME(name(i + 1)));
                packet.answers.push(ResourceRecord::new(name(i), CLASS::IN, 9, data));
            }
            let data = RData::A(A { address: 1 });
            packet.answers.push(ResourceRecord::new(name(aliases), CLASS::IN, 9, data));
            let message = packet.build_bytes_vec_compressed().unwrap();
            assert_eq!(bound(&message).len(), found, "{aliases} aliases");
        }
        let looping = response(vec![("api.example", 1, alias("api.example"))]);
        assert!(bound(&looping).is_empty());
    }

    #[test]
    fn answers_end_at_their_limit() {
        let limit = usize::from(ANSWER_LIMIT);
        for (count, found) in [(limit - 1, limit - 1), (limit, limit), (limit + 1, limit)] {
            let records = (0..count)
                .map(|i| ("api.example", 1, RData::A(A { address: u32::try_from(i).unwrap() })))
                .collect();
            assert_eq!(bound(&response(records)).len(), found, "{count} answers");
        }
    }

    #[test]
    fn every_address_of_every_section_is_named_hints_too() {
        let mut packet = Packet::new_reply(7);
        let record = |owner: &'static str, data| {
            ResourceRecord::new(Name::new_unchecked(owner), CLASS::IN, 9, data)
        };
        packet.answers.push(record("api.example", alias("edge.example")));
        packet.answers.push(record("edge.example", RData::A(A { address: 0xc000_0201 })));
        let name = Name::new_unchecked("api.example");
        let mut service = SVCB::new(1, name);
        service.set_param(SVCParam::Ipv4Hint([0xc000_0202, 0xc000_0203].into()));
        service.set_param(SVCParam::Ipv6Hint([0x2001_0db8 << 96 | 2].into()));
        packet.answers.push(record("api.example", RData::HTTPS(HTTPS(service))));
        packet.additional_records.push(record("ns.example", RData::A(A { address: 0x0a00_0001 })));
        let message = packet.build_bytes_vec_compressed().unwrap();
        let named: Vec<String> =
            addresses(&message).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(named, ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::2", "10.0.0.1"]);
        for cut in HEADER_BYTES..message.len() {
            assert_eq!(addresses(&message[..cut]), Err(Reason::DnsMalformed), "cut at {cut}");
        }
        let mut truncated = message[..message.len() - 1].to_vec();
        truncated[2] |= 2;
        assert_eq!(addresses(&truncated).unwrap().len(), 4, "TC");
        let mut flushed = message.clone();
        let class = flushed.len() - 12;
        flushed[class] = 0x80;
        assert_eq!(addresses(&flushed).unwrap().len(), 5, "the top bit of a class");
        let owner = flushed.iter().rposition(|&byte| byte == 0xc0).unwrap();
        truncated = message.clone();
        (truncated[2], truncated[owner]) = (truncated[2] | 2, 0x41);
        assert_eq!(addresses(&truncated), Err(Reason::DnsMalformed), "TC is no excuse");
    }

    #[test]
    fn addresses_of_one_message_end_at_their_limit() {
        for (count, fits) in
            [(ADDRESS_LIMIT - 1, true), (ADDRESS_LIMIT, true), (ADDRESS_LIMIT + 1, false)]
        {
            let records = (0..count)
                .map(|i| ("api.example", 1, RData::A(A { address: u32::try_from(i).unwrap() })))
                .collect();
            let named = addresses(&response(records)).map(|named| named.len());
            let expected = if fits { Ok(count) } else { Err(Reason::LimitInspection) };
            assert_eq!(named, expected, "{count}");
        }
    }

    #[test]
    fn failures_and_other_classes_bind_nothing() {
        let good = response(vec![("api.example", 1, RData::A(A { address: 1 }))]);
        assert_eq!(bound(&good).len(), 1);
        let mut refused = good.clone();
        refused[3] |= 5;
        assert!(bound(&refused).is_empty());
        let mut query = good.clone();
        query[2] &= 0x7f;
        assert_eq!(bindings(&query, |_, _, _| ()), Err(Reason::DnsMalformed));
        let mut huge = good.clone();
        let ttl = huge.len() - 10;
        huge[ttl] = 0x80;
        assert_eq!(bound(&huge)[0].2, 0, "a time with its top bit set");
        let mut cut = good;
        cut.pop();
        assert_eq!(bindings(&cut, |_, _, _| ()), Err(Reason::DnsMalformed));
        cut[2] |= 2;
        assert_eq!(bindings(&cut, |_, _, _| ()), Ok(()), "TC");
    }
}
