//! First bytes of clients: what they are, at every cut, and at the limits of what is waited for.

use super::*;

fn dns(name: &[u8], kind: u16) -> Vec<u8> {
    let mut message =
        vec![0x2b, 0x17, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(name.len()).unwrap()];
    message.extend_from_slice(name);
    message.extend_from_slice(&[0, (kind >> 8) as u8, kind as u8, 0, 1]);
    message
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn ssl2_hello() -> Vec<u8> {
    let mut hello = vec![0x80, 28, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 47];
    hello.extend_from_slice(&[7; 16]);
    hello
}

/// First bytes of clients, and what they are.
fn known() -> Vec<(Vec<u8>, Detection)> {
    let text = |bytes: &[u8], detection| (bytes.to_vec(), detection);
    vec![
        text(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Detection::Tls),
        text(b"\x16\x03\x09\x00\x05", Detection::Tls),
        text(b"\x15\x03\x01\x00\x02\x01\x00", Detection::Tls),
        (ssl2_hello(), Detection::Tls),
        text(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Detection::Http2),
        text(b"PRI * HTTP/2.0\r\nHost: a\r\n", Detection::Http),
        text(b"GET / HTTP/1.1\r\n", Detection::Http),
        text(b"\r\n\nGET /\r\n", Detection::Http),
        text(b"POST\thttp://a/ HTTP/1.0\r\n", Detection::Http),
        text(b"BREW /pot HTTP/1.1\r\n", Detection::Http),
        text(b"get / http/1.1\n", Detection::Http),
        text(b"OPTIONS * HTTP/1.1\r\n", Detection::Http),
        text(b" \t\x0bGET / HTTP/1.1\r\n", Detection::Http),
        text(b"GET\xa0/", Detection::Http),
        text(b"FROB /\x01\x85HTTP/1.1\n", Detection::Http),
        text(b"OPTIONS rtsp://a/ RTSP/1.0\r\n", Detection::Other),
        text(b"REGISTER sip:a SIP/2.0\r\n", Detection::Other),
        text(b"SSH-2.0-OpenSSH_9.9\r\n", Detection::Ssh),
        text(b"SSH-1.99-x\n", Detection::Ssh),
        (framed(&dns(b"example", 1)), Detection::Dns),
        text(b"\0\0\0\x08\x04\xd2\x16\x2f", Detection::Preface(Preface::Postgres)),
        text(b"\0\0\0\x29\0\x03\0\0user\0a\0\0", Detection::Preface(Preface::Postgres)),
        text(b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01", Detection::Preface(Preface::Rdp)),
        text(
            b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
            Detection::Preface(Preface::Anywhere("ldap")),
        ),
        text(b"\x05\x01\0", Detection::Preface(Preface::Socks5)),
        text(b"\x05\x02\0\x02\x01", Detection::Preface(Preface::Socks5)),
        text(b"\x05\x03\0\x80\x55", Detection::Preface(Preface::Socks5Odd)),
        text(b"\x05\x04\x01\x03\x55\0", Detection::Preface(Preface::Socks5Odd)),
        text(b"\x05\x04\x01\x03\0\x55\x05", Detection::Preface(Preface::Socks5Odd)),
        text(b"\x05\x04\x01\x03\x55\x01", Detection::Other),
        text(b"\x05\0\x0b\x03\x10\0\0\0", Detection::Other),
        text(b"\x04\x01\x01\xbb\xc0\0\x02\x01a\0", Detection::Preface(Preface::Socks4)),
        text(b"<stream:stream to='a'", Detection::Preface(Preface::Xml)),
        text(b"<?xml version='1.0'?>\n<stream:stream", Detection::Preface(Preface::Xml)),
        text(b"<?xml version='1.0'?><methodCall>", Detection::Other),
        text(b"*1\r\n$4\r\nPING\r\n", Detection::Other),
        text(b"hi\nthere\n", Detection::Other),
        text(b"ping\r\n", Detection::Other),
        text(b"hello\n", Detection::Other),
        text(b"EHLO client\r\n", Detection::Other),
        text(b"\x12\x01\0\x2f\0\0\x01\0", Detection::Other),
        text(b"\0\xea\0\0\x01\0\0\0\x01\x38", Detection::Other),
        text(b"\x10\x10\0\x04MQTT\x04\x02", Detection::Other),
        text(b"l\0\x0b\0\0\0\0\0\0\0\0\0", Detection::Other),
        text(b"\xff\xfb\x1f\xff\xfb\x20", Detection::Other),
        text(b"0032git-upload-pack /a\0host=b\0", Detection::Other),
    ]
}

#[test]
fn clients_are_told_by_their_first_bytes_and_no_cut_gives_another_answer() {
    for (bytes, detection) in known() {
        assert_eq!(client(&bytes), detection, "{bytes:?}");
        for end in 0..bytes.len() {
            let early = client(&bytes[..end]);
            assert!(
                early == Detection::Unsure || early == detection,
                "{bytes:?} at {end}: {early:?}"
            );
        }
    }
}

#[test]
fn an_answer_once_given_stands_whatever_follows() {
    let mut state = 5_u64;
    let seeds = known();
    for round in 0..60_000 {
        let mut bytes = seeds[round % seeds.len()].0.clone();
        bytes.truncate(40);
        for _ in 0..2 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 40).unwrap() % bytes.len();
            bytes[at] = (state >> 32) as u8;
        }
        let answers: Vec<_> = (0..=bytes.len()).map(|end| client(&bytes[..end])).collect();
        let first = answers.iter().position(|a| *a != Detection::Unsure).unwrap_or(bytes.len());
        let told = answers[first];
        assert!(answers[first..].iter().all(|a| *a == told), "{bytes:?}: {answers:?}");
    }
}

#[test]
fn methods_and_lines_and_empty_lines_end_at_their_limits() {
    for (len, likeness) in [
        (LINE_LIMIT_BYTES - 1, Likeness::Unsure),
        (LINE_LIMIT_BYTES, Likeness::Certain),
        (LINE_LIMIT_BYTES + 1, Likeness::Certain),
    ] {
        assert_eq!(http(&vec![b'M'; len]), likeness, "method of {len}");
    }
    for (len, likeness) in [
        (LINE_LIMIT_BYTES - 1, Likeness::Unsure),
        (LINE_LIMIT_BYTES, Likeness::Certain),
        (LINE_LIMIT_BYTES + 1, Likeness::Certain),
    ] {
        let mut line = b"BREW /".to_vec();
        line.resize(len + 4, b'x');
        assert_eq!(http(&line), likeness, "line of {len}");
    }
    for (len, likeness) in [
        (EMPTY_LINES_LIMIT_BYTES - 1, Likeness::Unsure),
        (EMPTY_LINES_LIMIT_BYTES, Likeness::Unsure),
        (EMPTY_LINES_LIMIT_BYTES + 1, Likeness::Certain),
    ] {
        assert_eq!(http(&vec![b'\n'; len]), likeness, "{len} empty lines");
    }
}

#[test]
fn bytes_met_on_their_own_are_a_clients_only_if_no_server_sends_them() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for asked in [&hello[..], b"GET / HTTP/1.1\r\n", b"POST /", &HTTP2_PREFACE[..]] {
        assert!(asks(asked), "{asked:?}");
    }
    let server_hello = b"\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03";
    for answered in
        [&server_hello[..], b"HTTP/1.1 200 OK\r\n", b"GETAWAY", b"GET", b"\x16\x03", b""]
    {
        assert!(!asks(answered), "{answered:?}");
    }
}

#[test]
fn datagrams_are_dns_only_with_a_sane_header_and_a_readable_question() {
    let query = dns(b"example", 1);
    assert!(dns_datagram(&query));
    let changed = |at: usize, byte: u8| {
        let mut message = query.clone();
        message[at] = byte;
        dns_datagram(&message)
    };
    assert!(changed(2, 0x28), "update");
    assert!(changed(2, 0x80), "a response in the wrong direction");
    assert!(!changed(2, 0x18), "opcode 3 is not assigned");
    assert!(!changed(2, 0x08), "an inverse query");
    assert!(!changed(2, 0x10), "status");
    assert!(changed(3, 0x40), "Z");
    assert!(changed(3, 3), "a failure in a query");
    assert!(!changed(5, 0), "no question");
    assert!(!changed(4, 1), "257 questions");
    assert!(!changed(12, 64), "an odd label");
    assert!(!changed(24, 77), "no such class");
    assert!(!dns_datagram(&query[..query.len() - 1]));
    assert!(!dns_datagram(&dns(b"CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 0x21)), "NetBIOS");
    let ntp = [&[0x23, 0, 6, 0x20][..], &[0; 44]].concat();
    assert!(!dns_datagram(&ntp));
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[0; 12]].concat();
    assert!(!dns_datagram(&stun));
}

#[test]
fn a_query_is_found_whatever_its_length_and_its_number_look_like() {
    // Length and number of a query are its client's to choose: a padded one may start like text.
    for start in [b"hi\n ", b"a\nbc", b"hi\r\n", b" \n\n\n", b"ABC\n", b"*1\r\n", b"SSH-", b"ruok"]
    {
        let [high, low, id @ ..] = *start;
        for (flags, spare) in [(1, 0), (0x20, 1), (0x28, 1)] {
            let mut message = dns(b"example", 1);
            message[..2].copy_from_slice(&id);
            (message[2], message[9]) = (flags, spare);
            message.resize(usize::from(u16::from_be_bytes([high, low])), 0);
            let bytes = framed(&message);
            assert_eq!(bytes[..4], *start);
            for end in 0..60 {
                let told = client(&bytes[..end]);
                let question = end >= 2 + HEADER_BYTES + 13;
                let due = if question { Detection::Dns } else { Detection::Unsure };
                assert_eq!(told, due, "{start:?}, {end} bytes");
            }
        }
    }
}

#[test]
fn a_query_is_one_whatever_records_it_counts() {
    for at in [6, 8, 10] {
        for high in [1, 2, 255] {
            let mut message = dns(b"example", 1);
            message[at] = high;
            assert!(dns_datagram(&message), "{high:#x} at {at}");
            assert_eq!(client(&framed(&message)), Detection::Dns, "{high:#x} at {at}");
        }
    }
}

#[test]
fn odd_counts_and_pointers_make_a_query_of_a_hosts_name_alone() {
    let mut sealed = dns(b"\xe7\x01\x9a", 1);
    assert!(dns_datagram(&sealed));
    sealed[6] = 2;
    assert!(!dns_datagram(&sealed), "512 answers and no host");
    let mut sealed = dns(b"", 1);
    sealed.splice(HEADER_BYTES..HEADER_BYTES + 2, [0xc0, 20]);
    sealed.extend(b"\0\0\x04\xe7\x01\x9a\x02\0");
    assert!(!dns_datagram(&sealed), "a pointer to no host");
    sealed[13] = 200;
    assert!(!dns_datagram(&sealed), "a pointer to nothing");
}

#[test]
fn a_question_whose_name_only_some_can_read_is_one() {
    let mut forward = dns(b"", 1);
    forward.splice(HEADER_BYTES..HEADER_BYTES + 2, [0xc0, 20]);
    forward.extend(b"\0\0\x04evil\x07example\0");
    let mut long = dns(b"", 1);
    let labels = [&[63][..], &[b'a'; 63]].concat().repeat(5);
    long.splice(HEADER_BYTES..HEADER_BYTES + 1, labels);
    for message in [forward, long] {
        assert!(dns_datagram(&message), "{message:?}");
        let bytes = framed(&message);
        for end in 0..=bytes.len() {
            let told = client(&bytes[..end]);
            assert!(matches!(told, Detection::Unsure | Detection::Dns), "{end}: {told:?}");
        }
        assert_eq!(client(&bytes), Detection::Dns);
    }
}

#[test]
fn a_hello_anywhere_is_told_whatever_its_minor_versions_are() {
    for minor in [0, 1, 3, 4, 5, 0xff] {
        let hello = [0x16, 3, minor, 0, 200, 1, 0, 0, 196, 3, minor, 9];
        assert_eq!(hello_anywhere(&hello), Likeness::Certain, "{minor}");
        for cut in 0..10 {
            assert_eq!(hello_anywhere(&hello[..cut]), Likeness::Unsure, "{minor} {cut}");
        }
    }
    for at in [0, 1, 5, 6, 9] {
        let mut other = [0x16, 3, 3, 0, 200, 1, 0, 0, 196, 3, 3, 9];
        other[at] = 0x7f;
        assert_eq!(hello_anywhere(&other), Likeness::No, "{at}");
    }
}
