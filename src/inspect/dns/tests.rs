//! DNS queries built by another implementation, limits, and hostile bytes.

use super::*;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question as Asked, TYPE};

pub(crate) fn query(names: &[&str]) -> Vec<u8> {
    let mut packet = Packet::new_query(0x1234);
    packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    for name in names {
        packet.questions.push(Asked::new(
            Name::new(name).unwrap(),
            QTYPE::TYPE(TYPE::A),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
    }
    packet.build_bytes_vec_compressed().unwrap()
}

fn names(facts: &Facts) -> Vec<String> {
    facts.questions.known().map_or_else(Vec::new, |n| n.iter().map(ToString::to_string).collect())
}

#[test]
fn every_question_is_read_in_lower_case() {
    let mut facts = Facts::default();
    let message = query(&["WWW.Example.com", "api.example.com", "example.com"]);
    let progress = read_datagram(Direction::Original, &message, &mut facts);
    assert_eq!(progress, Progress::message(message.len()));
    assert_eq!(names(&facts), ["www.example.com", "api.example.com", "example.com"]);
    assert_eq!(facts.app, Fact::Known(App::Dns));
    assert_eq!(facts.domain, Fact::Absent);
}

#[test]
fn the_facts_are_those_of_the_last_message() {
    let mut facts = Facts::default();
    for name in ["a.example", "b.example"] {
        assert!(read_query(&query(&[name]), &mut facts).is_ok());
        assert_eq!(names(&facts), [name]);
    }
    let mut bare = query(&[]);
    assert!(read_query(&bare, &mut facts).is_ok());
    assert_eq!(facts.questions, Fact::Absent, "no question is no name");
    bare.pop();
    assert_eq!(read_query(&bare, &mut facts), Err(Reason::DnsMalformed));
}

#[test]
fn questions_end_at_their_limit() {
    let limit = usize::from(QUESTION_LIMIT);
    for (count, result) in
        [(limit - 1, Ok(())), (limit, Ok(())), (limit + 1, Err(Reason::LimitInspection))]
    {
        let message = query(&vec!["a.example"; count]);
        assert_eq!(read_query(&message, &mut Facts::default()), result, "{count} questions");
    }
}

#[test]
fn a_response_from_the_client_is_malformed_and_still_named() {
    let mut facts = Facts::default();
    let mut message = query(&["a.example"]);
    message[2] |= 0x80;
    assert_eq!(read_query(&message, &mut facts), Err(Reason::DnsMalformed));
    assert!(names(&facts).is_empty(), "no rule sees them");
    assert_eq!(facts.noted.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.example"]);
}

#[test]
fn edns_is_taken_and_a_cut_option_record_is_not() {
    let mut message = query(&["a.example"]);
    message[11] = 1;
    message.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 4, 0, 12, 0, 0]);
    let mut facts = Facts::default();
    assert!(read_query(&message, &mut facts).is_ok());
    assert_eq!(names(&facts), ["a.example"]);
    message.pop();
    assert_eq!(read_query(&message, &mut facts), Err(Reason::DnsMalformed));
}

#[test]
fn answers_are_passed_over_and_queries_read_in_the_reply_direction() {
    let mut facts = Facts::default();
    let mut message = query(&["a.example"]);
    let progress = read_datagram(Direction::Reply, &message, &mut facts);
    assert_eq!(progress, Progress::message(message.len()));
    assert_eq!(names(&facts), ["a.example"]);
    message[2] |= 0x80;
    let mut facts = Facts::default();
    let progress = read_datagram(Direction::Reply, &message, &mut facts);
    assert_eq!(progress, Progress::more(message.len()));
    assert_eq!(facts, Facts::default());
}

#[test]
fn messages_of_a_stream_come_one_by_one_at_any_cut() {
    let mut stream = Vec::new();
    let wanted: Vec<String> = (0..5).map(|i| format!("n{i}.example")).collect();
    for name in &wanted {
        let message = query(&[name]);
        stream.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
        stream.extend_from_slice(&message);
    }
    for step in 1..=stream.len() {
        let mut reader = DnsStreamReader::new();
        let (mut facts, mut found, mut at) = (Facts::default(), Vec::new(), 0);
        for end in (0..stream.len()).step_by(step).skip(1).chain([stream.len()]) {
            loop {
                let progress = reader.read(Direction::Original, &stream[at..end], &mut facts);
                at += progress.consumed;
                if progress.outcome != Outcome::Message {
                    break;
                }
                found.extend(names(&facts));
            }
        }
        assert_eq!(found, wanted, "{step} bytes a segment");
        assert_eq!(at, stream.len());
    }
    assert_eq!(stream::messages(&stream).count(), 5);
}

#[test]
fn a_length_too_short_for_a_header_is_malformed_at_once() {
    for (len, fault) in [(11, true), (12, false), (13, false)] {
        let progress =
            DnsStreamReader::new().read(Direction::Original, &[0, len], &mut Facts::default());
        assert_eq!(progress == Progress::fault(Reason::DnsMalformed), fault, "{len}");
    }
}

#[test]
fn mutated_messages_never_panic() {
    let seed = {
        let mut message = query(&["www.example.com", "api.example.com"]);
        message[7] = 1;
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        message
    };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let mut message = seed.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 40).unwrap() % message.len();
            message[at] = (state >> 32) as u8;
        }
        message.truncate(usize::try_from(state >> 50).unwrap() % (message.len() + 1));
        let mut facts = Facts::default();
        let _ = read_query(&message, &mut facts);
        if let Some(first) = message.get_mut(2) {
            *first |= 0x80;
        }
        let _ = answers::bindings(&message, |_, _, _| ());
        let _ = answers::addresses(&message);
    }
}
