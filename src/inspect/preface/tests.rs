//! Protocols in which TLS or a tunnel starts later, at any cut, and those in which it does not.

use super::*;

const HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";

/// What a client's bytes lead to, cut into segments of `step` bytes, and where.
fn outcome(preface: Preface, bytes: &[u8], step: usize) -> (Step, usize) {
    let mut watch = Watch::new(preface);
    let mut at = 0;
    for end in (step..bytes.len()).step_by(step).chain([bytes.len()]) {
        loop {
            match watch.read(&bytes[at..end]) {
                Step::Skip(0) => break,
                Step::Skip(count) => at += count,
                Step::Tls(count) => return (Step::Tls(0), at + count),
                Step::Tunnel(count) => return (Step::Tunnel(0), at + count),
                other => return (other, at),
            }
            if at == end {
                break;
            }
        }
    }
    (Step::Skip(0), at)
}

#[test]
fn tls_and_tunnels_are_found_where_they_start_at_any_cut() {
    for (preface, before, step) in [
        (Preface::Lines("smtp"), &b"EHLO a\r\nStartTLS \n"[..], Step::Tls(0)),
        (Preface::Lines("ftp"), b"", Step::Tls(0)),
        (Preface::Xml, b"<stream:stream><starttls xmlns='\x16'/>", Step::Tls(0)),
        (Preface::Lines("smtp"), b"STARTTLS\r\nX\x16\x03", Step::Tls(0)),
        (Preface::Anywhere("ldap"), b"\x30\x05\x02\x01\x01\x63\x16\x03\0", Step::Tls(0)),
        (Preface::Postgres, b"\0\0\0\x08\x04\xd2\x16\x30\0\0\0\x08\x04\xd2\x16\x2f", Step::Tls(0)),
        (Preface::Rdp, b"\x03\0\0\x0b\x06\xe0\0\0\0\0\0", Step::Tls(0)),
        (
            Preface::Anywhere("ldap"),
            b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
            Step::Tls(0),
        ),
        (
            Preface::Mysql,
            b"\x20\0\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            Step::Tls(0),
        ),
        (Preface::Socks4, b"\x04\x01\x01\xbb\0\0\0\x01user\0host.example\0", Step::Tunnel(0)),
        (Preface::Socks4, b"\x04\x01\x01\xbb\xc0\0\x02\x01\0", Step::Tunnel(0)),
        (Preface::Socks5, b"\x05\x01\0\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb", Step::Tunnel(0)),
        (
            Preface::Socks5,
            b"\x05\x02\0\x02\x01\x01u\x02pw\x05\x01\0\x03\x01a\x01\xbb",
            Step::Tunnel(0),
        ),
    ] {
        let bytes = [before, HELLO].concat();
        for cut in 1..=bytes.len() {
            assert_eq!(
                outcome(preface, &bytes, cut),
                (step, before.len()),
                "{preface:?} cut {cut}"
            );
        }
    }
}

#[test]
fn a_directory_is_told_by_its_first_request_in_any_form() {
    let asks = b"\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    for head in [
        &b"\x30\x1d\x02\x01\x01"[..],
        b"\x30\x1e\x02\x02\x01\x01",
        b"\x30\x81\x1d\x02\x01\x01",
        b"\x30\x82\0\x1d\x02\x01\x01",
        b"\x30\x84\0\0\0\x1d\x02\x01\x01",
    ] {
        let bytes = [head, asks].concat();
        for end in 0..bytes.len() {
            let due = if end < head.len() + 2 { Likeness::Unsure } else { Likeness::Certain };
            assert_eq!(
                detect(&bytes[..end]),
                (due, if end < 1 { Preface::Postgres } else { Preface::Anywhere("ldap") }),
                "{end}"
            );
        }
    }
    for other in [
        &b"\x30\x85\0"[..],
        b"\x30\x1d\x02\x05",
        b"\x30\x1d\x02\x01\x01\x61\x01",
        b"\x30\x26\x02\x01\x01\x04\x06public",
        b"\x30\x1d\x02\x01\x01\x60\0\x01",
    ] {
        assert_eq!(detect(other).0, Likeness::No, "{other:?}");
    }
}

#[test]
fn nothing_is_found_where_nothing_starts() {
    let mail = b"DATA\r\nx\x16\x03\x01\x02\0\x01\r\n.\r\n";
    assert_eq!(outcome(Preface::Lines("smtp"), mail, 7), (Step::Skip(0), mail.len()));
    let session = b"\0\0\0\x29\0\x03\0\0user\0a\0\0";
    assert_eq!(outcome(Preface::Postgres, session, 64).0, Step::Over);
    let login = b"\x54\0\0\x01\x85\xa6\xff\x01";
    assert_eq!(outcome(Preface::Mysql, login, 64).0, Step::Over);
    let mut request = [&b"\x20\0\0\x01\0\x08"[..], &[0; 30], b"X"].concat();
    request.extend_from_slice(HELLO);
    assert_eq!(outcome(Preface::Mysql, &request, 64).0, Step::Wrong, "TLS was asked for");
    let other = b"\x05\x01\0\x99\x99\x99\x99\x99";
    assert_eq!(outcome(Preface::Socks5, other, 1).0, Step::Wrong, "told by three bytes only");
}

#[test]
fn requests_before_tls_end_at_their_limit() {
    for (count, found) in [
        (MESSAGE_LIMIT - 1, Step::Tls(0)),
        (MESSAGE_LIMIT, Step::Tls(0)),
        (MESSAGE_LIMIT + 1, Step::Over),
    ] {
        let mut bytes = b"\0\0\0\x08\x04\xd2\x16\x2f".repeat(usize::from(count));
        bytes.extend_from_slice(HELLO);
        assert_eq!(outcome(Preface::Postgres, &bytes, 64).0, found, "{count} requests");
    }
}

#[test]
fn texts_of_socks_4_end_at_their_limit() {
    for (len, over) in [
        (SOCKS4_TEXT_LIMIT_BYTES - 1, false),
        (SOCKS4_TEXT_LIMIT_BYTES, false),
        (SOCKS4_TEXT_LIMIT_BYTES + 1, true),
    ] {
        let mut bytes = b"\x04\x01\x01\xbb\xc0\0\x02\x01".to_vec();
        bytes.resize(8 + len, b'u');
        assert_eq!(outcome(Preface::Socks4, &bytes, 4096).0 == Step::Over, over, "{len}");
    }
}
