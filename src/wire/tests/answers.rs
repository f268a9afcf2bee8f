//! Answers: every one is a frame that GWLB would take, and says what it should to whom it should.

use super::answer::{self, Toward};
use super::frames::*;
use super::*;

/// The triggers: each inner packet in each kind of frame.
fn frames(inner: &[u8]) -> Vec<(Vec<u8>, Link, Settings)> {
    let wrapped = gwlb(inner);
    let mut zero_sum = wrapped.clone();
    zero_sum[26..28].fill(0);
    let ethertype = if inner[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
    let vlan = [&[0, 7][..], &u16::to_be_bytes(0x0800), &wrapped].concat();
    vec![
        (wrapped.clone(), Link::RawIp, Settings::GWLB),
        (zero_sum, Link::RawIp, Settings::GWLB),
        (ethernet(0x0800, &wrapped), Link::Ethernet, Settings::GWLB),
        (ethernet(0x8100, &vlan), Link::Ethernet, Settings::GWLB),
        (inner.to_vec(), Link::RawIp, Settings::CAPTURE),
        (ethernet(ethertype, inner), Link::Ethernet, Settings::CAPTURE),
    ]
}

/// Reads an answer and holds its encapsulation against that of its trigger.
fn check(answer: &[u8], trigger: &[u8], link: Link, settings: &Settings) -> Packet {
    let asked = parse(trigger, link, settings).unwrap();
    let answered = parse(answer, link, settings).unwrap();
    assert!(transport_checksum_ok(answer, &answered));
    assert_eq!(answered.ip, asked.ip);
    if let (Some(asked_outer), Some(outer)) = (asked.outer, answered.outer) {
        let (udp, inner) = (usize::from(outer.geneve) - 8, usize::from(answered.ip));
        assert_eq!(answer[udp..udp + 4], trigger[udp..udp + 4], "ports");
        assert_eq!(answer[udp + 8..inner], trigger[udp + 8..inner], "GENEVE");
        let zero = |frame: &[u8]| frame[udp + 6..udp + 8] == [0, 0];
        assert_eq!(zero(answer), zero(trigger), "UDP checksum");
        let ip = usize::from(outer.ip);
        assert_eq!(answer[ip + 12..ip + 16], trigger[ip + 16..ip + 20]);
        assert_eq!(answer[ip + 16..ip + 20], trigger[ip + 12..ip + 16]);
        assert_eq!(Outer { source: outer.source, ..asked_outer }, outer);
        let total = u16::from_be_bytes([answer[ip + 2], answer[ip + 3]]);
        assert_eq!(usize::from(total), answer.len() - ip);
    }
    answered
}

#[test]
fn a_reset_goes_either_way_in_the_encapsulation_of_its_trigger() {
    for text in [SYN_V4, SYN_V6] {
        for (trigger, link, settings) in frames(&inner_of(text)) {
            let asked = parse(&trigger, link, &settings).unwrap();
            for (toward, tuple) in
                [(Toward::Sender, asked.tuple.reverse()), (Toward::Receiver, asked.tuple)]
            {
                let reset = answer::rst(&trigger, &asked, 7, Some(9), toward).unwrap();
                let answered = check(&reset, &trigger, link, &settings);
                assert_eq!(answered.tuple, tuple);
                let segment = answered.tcp().unwrap();
                assert_eq!((segment.seq, segment.ack), (7, 9));
                assert_eq!(segment.flags, TcpFlags::RST | TcpFlags::ACK);
                let bare = answer::rst(&trigger, &asked, 7, None, toward).unwrap();
                let answered = check(&bare, &trigger, link, &settings);
                assert_eq!(answered.tcp().unwrap().flags, TcpFlags::RST);
            }
        }
    }
}

#[test]
fn mac_addresses_of_a_bare_answer_follow_its_direction() {
    let trigger = ethernet(0x0800, &inner_of(SYN_V4));
    let asked = parse(&trigger, Link::Ethernet, &Settings::CAPTURE).unwrap();
    let back = answer::rst(&trigger, &asked, 0, None, Toward::Sender).unwrap();
    assert_eq!(back[..6], trigger[6..12]);
    let on = answer::rst(&trigger, &asked, 0, None, Toward::Receiver).unwrap();
    assert_eq!(on[..12], trigger[..12]);
}

#[test]
fn a_closed_port_answers_with_the_numbers_of_rfc_9293() {
    let frame = hex(SYN_V4);
    let packet = live(&frame).unwrap();
    let reset = answer::rst_to_sender(&frame, &packet).unwrap();
    let segment = *live(&reset).unwrap().tcp().unwrap();
    assert_eq!((segment.seq, segment.ack), (0, 0x0102_0305));
    assert_eq!(segment.flags, TcpFlags::RST | TcpFlags::ACK);

    let mut frame = hex(SYN_V4);
    frame[101] = TcpFlags::ACK.0;
    frame[96..100].copy_from_slice(&[0, 0, 0, 42]);
    let reset = answer::rst_to_sender(&frame, &live(&frame).unwrap()).unwrap();
    let segment = *live(&reset).unwrap().tcp().unwrap();
    assert_eq!((segment.seq, segment.flags), (42, TcpFlags::RST));
}

#[test]
fn icmp_errors_quote_their_trigger() {
    for (text, kind, code, too_big) in [(SYN_V4, 3, 13, (3, 4)), (SYN_V6, 1, 1, (2, 0))] {
        for (trigger, link, settings) in frames(&inner_of(text)) {
            let asked = parse(&trigger, link, &settings).unwrap();
            let error = answer::icmp_prohibited(&trigger, &asked).unwrap();
            let answered = check(&error, &trigger, link, &settings);
            assert_eq!(
                (answered.tuple.src, answered.tuple.dst),
                (asked.tuple.dst, asked.tuple.src)
            );
            let quoted =
                Quoted { tuple: asked.tuple, seq: Some(0x0102_0304), later_fragment: false };
            assert_eq!(answered.body, Body::IcmpError { kind, code, quoted });

            let error = answer::too_big(&trigger, &asked, 1_400).unwrap();
            let answered = check(&error, &trigger, link, &settings);
            let (kind, code) = too_big;
            assert_eq!(answered.body, Body::IcmpError { kind, code, quoted });
            let mtu = usize::from(answered.transport) + 6;
            assert_eq!(error[mtu..mtu + 2], 1_400u16.to_be_bytes());
        }
    }
}

#[test]
fn that_a_packet_was_too_big_is_said_again_with_no_more_than_it_needs() {
    for (text, kind, headers) in [(SYN_V4, (3, 4), 20), (SYN_V6, (2, 0), 40)] {
        let trigger = hex(text);
        let error = answer::too_big(&trigger, &live(&trigger).unwrap(), 1_400).unwrap();
        let asked = live(&error).unwrap();
        let again = answer::too_big_in_short(&error, &asked).unwrap();
        let read = live(&again).unwrap();
        assert_eq!((read.tuple, read.outer.is_some()), (asked.tuple, true));
        let Body::IcmpError { quoted, .. } = asked.body else { unreachable!("an error") };
        assert_eq!(read.body, Body::IcmpError { kind: kind.0, code: kind.1, quoted });
        assert_eq!(read.ip_len, 2 * (headers + 8));
        assert!(crate::wire::transport_checksum_ok(&again, &read));
        let mtu = usize::from(read.transport) + 6;
        assert_eq!(again[mtu..mtu + 2], 1_400u16.to_be_bytes());
        let other = answer::icmp_prohibited(&trigger, &live(&trigger).unwrap()).unwrap();
        assert_eq!(answer::too_big_in_short(&other, &live(&other).unwrap()), None);
    }
}

#[test]
fn icmp_errors_are_no_longer_than_they_may_be() {
    for (inner_len, v6, expected) in [
        (547, false, 575),
        (548, false, 576),
        (549, false, 576),
        (1_231, true, 1_279),
        (1_232, true, 1_280),
        (1_233, true, 1_280),
    ] {
        let mut inner = Vec::new();
        if v6 {
            let builder = etherparse::PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64).udp(1, 2);
            builder.write_to_vec(&mut inner, &vec![0; inner_len - 48]).unwrap();
        } else {
            let builder = etherparse::PacketBuilder::ipv4([10; 4], [11; 4], 64).udp(1, 2);
            builder.write_to_vec(&mut inner, &vec![0; inner_len - 28]).unwrap();
        }
        let frame = gwlb(&inner);
        let error = answer::icmp_prohibited(&frame, &live(&frame).unwrap()).unwrap();
        assert_eq!(live(&error).unwrap().ip_len, expected);
    }
}

fn query(question: &[u8]) -> Vec<u8> {
    let mut message = vec![0xbe, 0xef, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend(question);
    message.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    message
}

fn refused(message: &[u8]) -> Option<Vec<u8>> {
    let mut inner = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4([10, 1, 0, 10], [10, 53, 0, 1], 64);
    builder.udp(5_353, 53).write_to_vec(&mut inner, message).unwrap();
    let frame = gwlb(&inner);
    let packet = live(&frame).unwrap();
    let answer = answer::dns_refused(&frame, &packet, 0, Toward::Sender)?;
    let answered = check(&answer, &frame, Link::RawIp, &Settings::GWLB);
    assert_eq!(answered.tuple, packet.tuple.reverse());
    Some(answered.payload(&answer).to_vec())
}

#[test]
fn a_refusal_repeats_the_question_and_nothing_else() {
    let question = b"\x03api\x07example\x00\x00\x01\x00\x01";
    let mut expected = vec![0xbe, 0xef, 0x81, 0x05, 0, 1, 0, 0, 0, 0, 0, 0];
    expected.extend(question);
    assert_eq!(refused(&query(question)), Some(expected));
}

#[test]
fn a_question_that_cannot_be_read_is_left_out_of_the_refusal() {
    let header = [0xbe, 0xef, 0x81, 0x05, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = [1, b'a'].repeat(128);
    for question in [&b"\xc0\x0c\x00\x01\x00\x01"[..], b"\x3fshort", b"", &long] {
        let mut message = query(b"");
        message.truncate(12);
        message.extend(question);
        assert_eq!(refused(&message), Some(header.to_vec()));
    }
    let mut two = query(b"\x00\x00\x01\x00\x01");
    two[5] = 2;
    assert_eq!(refused(&two), Some(header.to_vec()));
}

#[test]
fn a_refusal_in_the_place_of_a_response_goes_where_that_went() {
    let question = b"\x03api\x07example\x00\x00\x01\x00\x01";
    let mut response = query(question);
    response[2] |= 0x80;
    response[7] = 1;
    response.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x6e\x01\x14");
    let mut inner = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4([10, 53, 0, 1], [10, 1, 0, 10], 64);
    builder.udp(53, 5_353).write_to_vec(&mut inner, &response).unwrap();
    let frame = gwlb(&inner);
    let packet = live(&frame).unwrap();
    let answer = answer::dns_refused(&frame, &packet, 0, Toward::Receiver).unwrap();
    let answered = check(&answer, &frame, Link::RawIp, &Settings::GWLB);
    assert_eq!(answered.tuple, packet.tuple);
    let mut expected = vec![0xbe, 0xef, 0x81, 0x05, 0, 1, 0, 0, 0, 0, 0, 0];
    expected.extend(question);
    assert_eq!(answered.payload(&answer), expected);
    let mut inner = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4([10, 53, 0, 1], [10, 1, 0, 10], 64);
    builder.udp(53, 5_353).write_to_vec(&mut inner, &query(question)).unwrap();
    let frame = gwlb(&inner);
    let packet = live(&frame).unwrap();
    assert_eq!(answer::dns_refused(&frame, &packet, 0, Toward::Receiver), None, "a query");
}

#[test]
fn only_queries_are_refused() {
    let mut response = query(b"\x00\x00\x01\x00\x01");
    response[2] |= 0x80;
    assert_eq!(refused(&response), None);
    assert_eq!(refused(&[0; 11]), None);
    let frame = hex(SYN_V4);
    assert_eq!(answer::dns_refused(&frame, &live(&frame).unwrap(), 0, Toward::Sender), None);
}

#[test]
fn resets_errors_fragments_and_groups_are_not_answered() {
    let frame = hex(SYN_V4);
    let packet = live(&frame).unwrap();
    assert!(answer::is_answerable(&packet));
    let reset = answer::rst_to_sender(&frame, &packet).unwrap();
    assert!(!answer::is_answerable(&live(&reset).unwrap()));
    let error = answer::icmp_prohibited(&frame, &packet).unwrap();
    assert!(!answer::is_answerable(&live(&error).unwrap()));
    let mut group = inner_of(SYN_V4);
    group[16] = 239;
    fix_header_sum(&mut group, 0);
    assert!(!answer::is_answerable(&live(&gwlb(&group)).unwrap()));
    let mut later = inner_of(SYN_V4);
    later[6..8].copy_from_slice(&[0, 9]);
    fix_header_sum(&mut later, 0);
    assert!(!answer::is_answerable(&live(&gwlb(&later)).unwrap()));
}

#[test]
fn a_mirror_takes_no_answer() {
    let mut vxlan = vec![0x08, 0, 0, 0, 0, 0, 1, 0];
    for inner in [inner_of(SYN_V4), hex(SYN_V4)] {
        vxlan.truncate(8);
        vxlan.extend(ethernet(0x0800, &inner));
        let frame = outer(VXLAN_PORT, &vxlan);
        let packet = captured(&frame).unwrap();
        assert_eq!(answer::rst_to_sender(&frame, &packet), None);
        assert_eq!(answer::icmp_prohibited(&frame, &packet), None);
    }
}
