//! One pass against the two it stands for: what detection says, and what reading a query at length
//! says.

use super::super::read_query;
use super::super::tests::query;
use super::*;
use crate::inspect::detect::dns_datagram;
use proptest::prelude::*;

/// The name of the only question, by the long way.
fn at_length(payload: &[u8]) -> Option<DomainName> {
    let mut facts = Facts::default();
    if !dns_datagram(payload) || read_query(payload, &mut facts).is_err() {
        return None;
    }
    match facts.questions.known()?.as_slice() {
        [name] => Some(*name),
        _ => None,
    }
}

/// The name of the only question, in one pass, in a place where another name was.
fn at_once(payload: &[u8]) -> Option<DomainName> {
    let mut name = DomainName::from_host(b"another.name.that.was.there.before").unwrap();
    lone_question(payload, &mut name).then_some(name)
}

fn with_option_record(mut message: Vec<u8>) -> Vec<u8> {
    message[11] = 1;
    message.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 4, 0, 12, 0, 0]);
    message
}

#[test]
fn a_usual_query_is_one() {
    let plain = query(&["API.Payments.example"]);
    for message in [plain.clone(), with_option_record(plain.clone()), [plain, vec![7; 9]].concat()]
    {
        assert_eq!(at_once(&message).unwrap().to_string(), "api.payments.example");
        assert_eq!(at_once(&message), at_length(&message));
    }
    let root = query(&["."]);
    assert_eq!(at_once(&root), Some(DomainName::empty()));
}

#[test]
fn anything_else_is_left_to_the_long_way() {
    let change = |at: usize, byte: u8| {
        let mut message = with_option_record(query(&["api.example"]));
        message[at] = byte;
        message
    };
    for (what, message) in [
        ("nothing", Vec::new()),
        ("a header alone", query(&["a.example"])[..HEADER_BYTES].to_vec()),
        ("no question", query(&[])),
        ("two questions", query(&["a.example", "b.example"])),
        ("a response", change(2, 0x81)),
        ("a status query", change(2, 0x10)),
        ("a question that is not there", change(5, 2)),
        ("512 answers that are not there", change(6, 2)),
        ("an answer that is not there", change(7, 1)),
        ("a pointer into itself", change(HEADER_BYTES, 0xc0)),
        ("a class there is not", change(HEADER_BYTES + 16, 9)),
        ("a cut record", change(HEADER_BYTES + 16 + 10, 200)),
    ] {
        assert_eq!(at_once(&message), None, "{what}");
        assert_eq!(at_length(&message), None, "{what}");
    }
    let netbios = query(&["CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]);
    assert_eq!((at_once(&netbios), at_length(&netbios)), (None, None));
}

#[test]
fn many_records_are_those_of_a_hosts_query() {
    for (name, one) in [("api.example", true), ("a b.example", false)] {
        let mut message = query(&[name]);
        message[10] = 2;
        message.extend([0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0].repeat(512));
        assert_eq!(at_once(&message).is_some(), one, "{name}");
        assert_eq!(at_length(&message).is_some(), one, "{name}");
    }
}

#[test]
fn every_byte_of_a_query_and_every_cut_says_the_same_both_ways() {
    for names in [&["a.B.example"][..], &["FHEPFCELEHFCEPFFFACACACACACACABL"], &["."], &["a", "b"]]
    {
        let whole = with_option_record(query(names));
        for at in 0..whole.len() {
            assert_eq!(at_once(&whole[..at]), at_length(&whole[..at]), "cut at {at}");
            for byte in 0..=255 {
                let mut message = whole.clone();
                message[at] = byte;
                assert_eq!(at_once(&message), at_length(&message), "{byte:#x} at {at}");
            }
        }
    }
}

#[test]
fn the_facts_are_those_of_the_long_way() {
    let message = with_option_record(query(&["a.example"]));
    let mut read = Facts::default();
    read_query(&message, &mut read).unwrap();
    let mut facts = lone_facts();
    assert!(lone_question(&message, lone_name(&mut facts).unwrap()));
    assert_eq!(facts, read);
    assert_eq!(lone_name(&mut Facts::default()), None);
}

/// A header that is nearly that of a query, and what may stand behind it.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        prop_oneof![4 => Just([1, 0]), 1 => any::<[u8; 2]>()],
        prop_oneof![4 => Just(1u16), 1 => 0u16..4, 1 => any::<u16>()],
        prop::array::uniform3(prop_oneof![4 => Just(0u16), 2 => 0u16..3, 1 => 500u16..520]),
    );
    let label = prop::collection::vec(any::<u8>(), 1..64);
    let labels = prop_oneof![
        4 => prop::collection::vec(prop::collection::vec(b'a'..=b'z', 1..12), 0..5),
        1 => prop::collection::vec(label, 0..6),
    ];
    let end = prop_oneof![6 => Just(vec![0]), 1 => any::<[u8; 2]>().prop_map(|b| b.to_vec())];
    let tail =
        prop_oneof![4 => Just(vec![0, 1, 0, 1]), 1 => any::<[u8; 4]>().prop_map(|b| b.to_vec())];
    let rest = prop_oneof![
        2 => Just(Vec::new()),
        2 => Just(vec![0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ];
    (header, labels, end, tail, rest).prop_map(
        |((flags, questions, counts), labels, end, tail, rest)| {
            let mut message = vec![0x12, 0x34];
            message.extend_from_slice(&flags);
            message.extend_from_slice(&questions.to_be_bytes());
            message.extend(counts.into_iter().flat_map(u16::to_be_bytes));
            for label in labels {
                message.push(label.len() as u8);
                message.extend_from_slice(&label);
            }
            [message, end, tail, rest].concat()
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_say_the_same_both_ways(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(at_once(&bytes), at_length(&bytes));
    }

    #[test]
    fn what_is_nearly_a_query_says_the_same_both_ways(
        mut message in nearly(),
        spoiled in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        prop_assert_eq!(at_once(&message), at_length(&message));
        if let Some((at, byte)) = spoiled {
            let at = at.index(message.len());
            message[at] = byte;
            prop_assert_eq!(at_once(&message), at_length(&message));
        }
    }
}
