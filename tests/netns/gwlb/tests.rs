//! The emulator held to the byte vectors of the reference, and to what GWLB refuses.

use super::*;
use lockgate::model::Protocol;
use lockgate::synth::packet::{self, Segment, flag};

/// Vectors A and C of the reference: a TCP SYN over IPv4 and one over IPv6, from the outer header on.
const VECTOR_A: &str = "\
    4500008000004000ff1166a40a6300010a630002c82217c1006c000008000800\
    0000000001080102123456789abcdef0010802020a1b2c3d4e5f607101080301\
    c0ffee014500003c12344000400614680a01000a0a0200149c4001bb01020304\
    00000000a002faf07b9400000204210c0402080a000000010000000001030307";
const VECTOR_C: &str = "\
    4500008400004000ff1166a00a6300010a630002c82217c100700000080086dd\
    0000000001080102123456789abcdef0010802020a1b2c3d4e5f607101080301\
    c0ffee01600000000018064020010db800010000000000000000001020010db8\
    0002000000000000000000209c4001bb01020304000000006002faf0844b0000\
    020420f8";

const NOW: Duration = Duration::from_secs(1000);
const ENDPOINT: u64 = 0x1234_5678_9abc_def0;
const TARGET: [u8; 4] = [10, 99, 0, 2];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn one() -> Gwlb {
    Gwlb::new(ENDPOINT, &[TARGET])
}

/// What a good target does.
fn turned(datagram: &[u8]) -> Vec<u8> {
    let mut back = datagram.to_vec();
    back[12..20].rotate_left(4);
    back
}

fn tcp(port: u16, flags: u8, reply: bool) -> Vec<u8> {
    tcp_at(port, flags, reply, [1, 1])
}

fn tcp_at(port: u16, flags: u8, reply: bool, [seq, ack]: [u32; 2]) -> Vec<u8> {
    let (src, dst) = (("10.1.0.10".parse().unwrap(), port), ("10.2.0.20".parse().unwrap(), 443));
    let tuple = packet::tuple(src, dst, Protocol::TCP);
    let tuple = if reply { tuple.reverse() } else { tuple };
    packet::tcp(&tuple, &Segment { seq, ack, flags, payload: b"" })
}

#[test]
fn datagrams_are_those_of_the_reference() {
    for vector in [VECTOR_A, VECTOR_C] {
        let vector = bytes(vector);
        let made = one().send(NOW, &vector[HEADERS..]).unwrap();
        // The outer source port is GWLB's own choice; nothing else is.
        let mut expected = vector.clone();
        expected[20..22].copy_from_slice(&made[20..22]);
        assert_eq!(made, expected);
        assert!(u16::from_be_bytes([made[20], made[21]]) >= 49_152);
    }
}

#[test]
fn the_answer_of_the_reference_passes_and_its_ip_checksum_stays() {
    let mut gwlb = one();
    let inner = &bytes(VECTOR_A)[HEADERS..];
    let sent = gwlb.send(NOW, inner).unwrap();
    let back = turned(&sent);
    assert_eq!(back[10..20], bytes("66a4 0a630002 0a630001"));
    assert_eq!(gwlb.receive(NOW, &back).unwrap(), inner);
}

#[test]
fn every_changed_byte_of_the_outer_headers_is_refused_or_counts_for_nothing() {
    let inner = &bytes(VECTOR_A)[HEADERS..];
    // TOS, IP identification, TTL, IP checksum (the network's business).
    let free = [1, 4, 5, 8, 10, 11];
    for at in 0..HEADERS {
        let mut gwlb = one();
        let mut back = turned(&gwlb.send(NOW, inner).unwrap());
        back[at] ^= 1;
        let refused = gwlb.receive(NOW, &back).err();
        let expected = match at {
            _ if free.contains(&at) || (6..8).contains(&at) => continue,
            0 | 2 | 3 | 9 => Refusal::Malformed,
            12..20 => Refusal::Foreign,
            20..24 => Refusal::ChangedPort,
            24 | 25 => continue,
            26 | 27 => Refusal::Checksum,
            28..64 => Refusal::ChangedHeader,
            _ => Refusal::StaleCookie,
        };
        assert_eq!(refused, Some(expected), "byte {at}");
    }
}

#[test]
fn swapped_ports_a_wrong_sum_and_a_flow_it_did_not_start_are_refused() {
    let mut gwlb = one();
    let sent = gwlb.send(NOW, &tcp(1, flag::SYN, false)).unwrap();
    let mut swapped = turned(&sent);
    swapped[20..24].rotate_left(2);
    assert_eq!(gwlb.receive(NOW, &swapped), Err(Refusal::SwappedPorts));
    let mut unknown = turned(&sent);
    unknown.truncate(HEADERS);
    unknown.extend(tcp(2, flag::SYN, false));
    assert_eq!(gwlb.receive(NOW, &unknown), Err(Refusal::UnknownFlow));
    let mut summed = turned(&sent);
    let sum = !udp_sum(&summed[12..20], &summed[20..]);
    summed[26..28].copy_from_slice(&sum.to_be_bytes());
    assert!(gwlb.receive(NOW, &summed).is_ok(), "a right sum is as good as none");
}

#[test]
fn both_directions_share_target_port_and_cookie() {
    let mut gwlb = one();
    let there = gwlb.send(NOW, &tcp(1, flag::SYN, false)).unwrap();
    let back = gwlb.send(NOW, &tcp(1, flag::SYN | flag::ACK, true)).unwrap();
    assert_eq!(there[12..24], back[12..24]);
    assert_eq!(there[28..HEADERS], back[28..HEADERS]);
    assert_eq!(gwlb.flows(), 1);
}

#[test]
fn a_flow_is_forgotten_at_its_close_and_the_next_one_has_a_new_cookie() {
    let fin = flag::FIN | flag::ACK;
    for ending in [
        &[(flag::RST, false, [1, 1])][..],
        &[(fin, false, [1, 1]), (fin, true, [1, 2]), (flag::ACK, false, [2, 2])],
        // Both at once, and each acknowledged by itself.
        &[
            (fin, false, [1, 1]),
            (fin, true, [1, 1]),
            (flag::ACK, false, [2, 2]),
            (flag::ACK, true, [2, 2]),
        ],
    ] {
        let mut gwlb = one();
        let first = gwlb.send(NOW, &tcp(1, flag::SYN, false)).unwrap();
        gwlb.receive(NOW, &turned(&first)).unwrap();
        for (flags, reply, numbers) in ending {
            assert_eq!(gwlb.flows(), 1, "{ending:?}");
            let sent = gwlb.send(NOW, &tcp_at(1, *flags, *reply, *numbers)).unwrap();
            gwlb.receive(NOW, &turned(&sent)).unwrap();
        }
        assert_eq!(gwlb.flows(), 0, "{ending:?}");
        assert_eq!(gwlb.send(NOW, &tcp(1, flag::ACK, false)), Err(Refusal::NoEntry));
        assert_eq!(gwlb.receive(NOW, &turned(&first)), Err(Refusal::UnknownFlow));
        let second = gwlb.send(NOW, &tcp(1, flag::SYN, false)).unwrap();
        assert_ne!(first[64..68], second[64..68]);
        assert_eq!(gwlb.receive(NOW, &turned(&first)), Err(Refusal::StaleCookie));
    }
}

#[test]
fn a_closed_flow_may_linger_for_what_its_target_still_says() {
    let mut gwlb = Gwlb { linger: Duration::from_secs(1), ..one() };
    let first = gwlb.send(NOW, &tcp(1, flag::SYN, false)).unwrap();
    let mut reset = turned(&first)[..HEADERS].to_vec();
    reset.extend(tcp(1, flag::RST, true));
    let length = u16::try_from(reset.len()).unwrap();
    reset[2..4].copy_from_slice(&length.to_be_bytes());
    assert!(gwlb.receive(NOW, &reset).is_ok());
    assert_eq!(gwlb.send(NOW, &tcp(1, flag::ACK, false)), Err(Refusal::NoEntry));
    let last = NOW + Duration::from_secs(1) - Duration::from_nanos(1);
    assert!(gwlb.receive(last, &reset).is_ok());
    assert_eq!(gwlb.receive(NOW + Duration::from_secs(1), &reset), Err(Refusal::UnknownFlow));
}

#[test]
fn a_flow_is_forgotten_when_idle() {
    let (tcp_syn, udp) = (
        tcp(1, flag::SYN, false),
        bytes("4500001c0000000040110000 0a010001 0a010002 0001 0002 0008 0000"),
    );
    for (inner, seconds) in [(&tcp_syn, 350), (&udp, 120)] {
        let mut gwlb = one();
        let sent = gwlb.send(NOW, inner).unwrap();
        let before = NOW + Duration::from_secs(seconds) - Duration::from_nanos(1);
        assert!(gwlb.receive(before, &turned(&sent)).is_ok());
        let after = before + Duration::from_secs(seconds);
        assert_eq!(gwlb.receive(after, &turned(&sent)), Err(Refusal::UnknownFlow));
    }
}

#[test]
fn inner_packets_of_8500_bytes_pass_and_larger_ones_are_dropped() {
    let tuple = packet::tuple(
        ("10.1.0.10".parse().unwrap(), 1),
        ("10.2.0.20".parse().unwrap(), 2),
        Protocol::UDP,
    );
    for (len, passes) in [(INNER_MAX - 1, true), (INNER_MAX, true), (INNER_MAX + 1, false)] {
        let inner = packet::udp(&tuple, &vec![0; len - 28]);
        assert_eq!(one().send(NOW, &inner).is_ok(), passes, "{len}");
    }
}

#[test]
fn flows_spread_over_targets_and_move_only_when_rebalanced() {
    let targets = [[10, 99, 0, 2], [10, 99, 0, 3], [10, 99, 0, 4]];
    for failover in [Failover::NoRebalance, Failover::Rebalance] {
        let mut gwlb = Gwlb { failover, ..Gwlb::new(ENDPOINT, &targets) };
        let mut shares = [0; 3];
        for port in 0..300 {
            gwlb.send(NOW, &tcp(port, flag::SYN, false)).unwrap();
            shares[gwlb.target_of(&tcp(port, flag::ACK, true)).unwrap()] += 1;
        }
        assert!(shares.iter().all(|share| *share > 60), "{shares:?}");
        gwlb.set_health(1, false);
        let mut left = 0;
        for port in 0..300 {
            let sent = gwlb.send(NOW, &tcp(port, flag::ACK, false)).unwrap();
            left += usize::from(sent[16..20] == targets[1]);
            assert!(gwlb.receive(NOW, &turned(&sent)).is_ok());
        }
        assert_eq!(left, if failover == Failover::Rebalance { 0 } else { shares[1] });
        gwlb.deregister(0);
        let new = gwlb.send(NOW, &tcp(999, flag::SYN, false)).unwrap();
        assert_eq!(new[16..20], targets[2], "new flows go to what is registered and healthy");
        gwlb.deregister(2);
        assert!(gwlb.send(NOW, &tcp(998, flag::SYN, false)).is_ok(), "all unhealthy: one is used");
        gwlb.deregister(1);
        assert_eq!(gwlb.send(NOW, &tcp(997, flag::SYN, false)), Err(Refusal::NoTarget));
    }
}

#[test]
fn a_target_may_not_answer_for_another() {
    let mut gwlb = Gwlb::new(ENDPOINT, &[[10, 99, 0, 2], [10, 99, 0, 3]]);
    let sent = gwlb.send(NOW, &tcp(1, flag::SYN, false)).unwrap();
    let mut back = turned(&sent);
    back[15] ^= 1;
    assert_eq!(gwlb.receive(NOW, &back), Err(Refusal::WrongTarget));
}

#[test]
fn fewer_tuples_make_fewer_flows() {
    for (stickiness, flows) in [(Stickiness::Five, 3), (Stickiness::Three, 2), (Stickiness::Two, 1)]
    {
        let mut gwlb = Gwlb { stickiness, ..one() };
        gwlb.send(NOW, &tcp(1, flag::SYN, false)).unwrap();
        gwlb.send(NOW, &tcp(2, flag::SYN, false)).unwrap();
        let mut udp = tcp(1, flag::SYN, false);
        udp[9] = 17;
        gwlb.send(NOW, &udp).unwrap();
        assert_eq!(gwlb.flows(), flows, "{stickiness:?}");
    }
}

#[test]
fn what_a_target_makes_itself_passes_under_the_header_of_its_flow() {
    let mut gwlb = one();
    let sent = gwlb.send(NOW, &tcp(1, flag::SYN, false)).unwrap();
    let mut made = turned(&sent)[..HEADERS].to_vec();
    made.extend(bytes("4500001c0000000040010000 0a020014 0a01000a 030d fcf2 00000000"));
    let length = u16::try_from(made.len()).unwrap();
    made[2..4].copy_from_slice(&length.to_be_bytes());
    assert!(gwlb.receive(NOW, &made).is_ok());
}
