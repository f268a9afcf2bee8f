//! PROXY headers: one of a PrivateLink connection, every family, limits, cuts and mutations.

use super::*;

/// 192.0.2.10:51954 -> 198.51.100.20:443 through vpce-0123456789abcdef0: CRC32C, AWS, NOOP.
fn privatelink() -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[0x21, 0x11, 0, 0x54, 192, 0, 2, 10, 198, 51, 100, 20]);
    header.extend_from_slice(&[0xca, 0xf2, 0x01, 0xbb, 3, 0, 4, 0x43, 0x05, 0xe0, 0x67]);
    header.extend_from_slice(&[0xea, 0, 0x17, 1]);
    header.extend_from_slice(b"vpce-0123456789abcdef0");
    header.extend_from_slice(&[4, 0, 0x24]);
    header.extend_from_slice(&[0; 36]);
    header
}

fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend_from_slice(body);
    header
}

fn read(bytes: &[u8]) -> (Progress, Fact<ProxyIdentity>) {
    let mut facts = Facts::default();
    let progress = ProxyReader::new().read(Direction::Original, bytes, &mut facts);
    (progress, facts.proxy)
}

const MALFORMED: Progress = Progress::fault(Reason::ProxyHeaderMalformed);

#[test]
fn the_endpoint_of_a_privatelink_connection_is_read() {
    let bytes = privatelink();
    assert_eq!(bytes.len(), 100);
    let id = "vpce-0123456789abcdef0".parse().unwrap();
    assert_eq!(read(&bytes), (Progress::fact(100), Fact::Known(ProxyIdentity::Endpoint(id))));
}

#[test]
fn every_changed_bit_behind_the_signature_is_noticed() {
    let good = privatelink();
    for bit in 12 * 8..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (progress, proxy) = read(&bytes);
        let known = progress.outcome == Outcome::Fact;
        // A LOCAL command or an unspecified family is believed without a sum.
        let believed = bytes[12] == 0x20 && bytes[13] == 0x11 || bytes[13] == 0;
        // The type of the sum changed: without a sum there is nothing to check.
        assert!(!known || believed || bytes[28] != 3, "bit {bit}: {proxy:?}");
    }
}

#[test]
fn headers_without_an_endpoint_speak_for_the_proxy() {
    let none = [0; 216];
    for (command, family, len) in [
        (0x20, 0x00, 0),
        (0x20, 0x11, 12),
        (0x21, 0x00, 0),
        (0x21, 0x00, 7),
        (0x21, 0x11, 12),
        (0x21, 0x12, 12),
        (0x21, 0x21, 36),
        (0x21, 0x22, 36),
        (0x21, 0x31, 216),
        (0x21, 0x32, 216),
    ] {
        let bytes = header(command, family, &none[..len]);
        let wanted = (Progress::fact(bytes.len()), Fact::Known(ProxyIdentity::Proxy));
        assert_eq!(read(&bytes), wanted, "{command:#x} {family:#x}");
    }
}

#[test]
fn malformed_headers_are_told() {
    let none = [0; 16];
    for (command, family, len) in
        [(0x22, 0x11, 12), (0x11, 0x11, 12), (0x21, 0x13, 12), (0x21, 0x41, 12), (0x21, 0x11, 11)]
    {
        assert_eq!(read(&header(command, family, &none[..len])).0, MALFORMED, "{family:#x} {len}");
    }
    let mut body = none[..12].to_vec();
    body.extend_from_slice(&[4, 0, 2, 0]);
    assert_eq!(read(&header(0x21, 0x11, &body)).0, MALFORMED, "a TLV beyond the header");
    for id in ["vpce-0123456789abcdef", "vpce-0123456789ABCDEF0", "vpce-0123456789abcdef0\0"] {
        let mut body = none[..12].to_vec();
        body.extend_from_slice(&[0xea, 0, u8::try_from(id.len() + 1).unwrap(), 1]);
        body.extend_from_slice(id.as_bytes());
        assert_eq!(read(&header(0x21, 0x11, &body)).0, MALFORMED, "{id:?}");
    }
}

#[test]
fn other_bytes_are_a_missing_header_at_the_first_difference() {
    let missing = (Progress::fault(Reason::ProxyHeaderMissing), Fact::Absent);
    assert_eq!(read(b"GET / HTTP/1.1\r\n"), missing);
    assert_eq!(read(b"\r\n\r\n\0\r\nQUIX"), missing);
    assert_eq!(read(b"PROXY TCP4 192.0.2.1"), missing, "version 1");
}

#[test]
fn a_header_is_read_at_any_cut() {
    let mut bytes = privatelink();
    bytes.extend_from_slice(b"GET");
    for cut in 0..100 {
        assert_eq!(read(&bytes[..cut]), (Progress::more(0), Fact::Unknown), "cut at {cut}");
    }
    assert_eq!(read(&bytes).0, Progress::fact(100));
}

#[test]
fn further_headers_are_skipped_up_to_their_limit() {
    for (count, fits) in [(HEADER_LIMIT - 1, true), (HEADER_LIMIT, true), (HEADER_LIMIT + 1, false)]
    {
        let mut bytes = privatelink();
        for _ in 1..count {
            bytes.extend(header(0x21, 0x11, &[0; 12]));
        }
        bytes.push(b'G');
        let (mut reader, mut facts, mut at) = (ProxyReader::new(), Facts::default(), 0);
        let last = loop {
            let progress = reader.read(Direction::Original, &bytes[at..], &mut facts);
            at += progress.consumed;
            if progress.consumed == 0 {
                break progress.outcome;
            }
        };
        let wanted = if fits { Outcome::Switch } else { Outcome::Fault(Reason::LimitInspection) };
        assert_eq!(last, wanted, "{count} headers");
        assert!(matches!(facts.proxy, Fact::Known(ProxyIdentity::Endpoint(_))));
    }
}

#[test]
fn lengths_end_at_their_limit() {
    for (len, fits) in [(LENGTH_LIMIT - 1, true), (LENGTH_LIMIT, true), (LENGTH_LIMIT + 1, false)] {
        let bytes = header(0x20, 0x00, &vec![0; len]);
        let outcome = read(&bytes).0.outcome;
        assert_eq!(outcome == Outcome::Fact, fits, "{len}");
    }
}

#[test]
fn mutated_headers_never_panic() {
    let mut state = 3_u64;
    for _ in 0..20_000 {
        let mut bytes = privatelink();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = 12 + usize::try_from(state >> 40).unwrap() % (bytes.len() - 12);
            bytes[at] = (state >> 32) as u8;
        }
        bytes.truncate(usize::try_from(state >> 50).unwrap() % (bytes.len() + 1));
        let _ = read(&bytes);
    }
}
