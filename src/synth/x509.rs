//! Certificates that say what a test wants: right in form, signed by nobody. For conversations made
//! to order; nothing verifies them.

use crate::inspect::primitives::sha256;
use crate::ruleset::Date;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `ecdsa-with-SHA256`, 1.2.840.10045.4.3.2, as an algorithm identifier.
const SIGNATURE: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// `id-ecPublicKey` with P-256, 1.2.840.10045.2.1 and 1.2.840.10045.3.1.7.
const KEY: [u8; 21] = [
    0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
];
/// `id-ce-subjectAltName`, 2.5.29.17.
const ALTERNATIVE_NAME: [u8; 5] = [6, 3, 0x55, 0x1d, 17];
/// Context tag of a DNS name among general names (RFC 5280 section 4.2.1.6).
const DNS_NAME: u8 = 0x82;

/// What a certificate says. Subject and issuer are a common name, or attributes as RFC 4514 writes
/// them (`CN=Acme CA,O=Acme`).
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Whose it is.
    pub subject: &'a str,
    /// Who signed.
    pub issuer: &'a str,
    /// DNS alternative names.
    pub names: &'a [String],
    /// Last day on which it is valid; the end of 2049 if none is given.
    pub until: Option<Date>,
}

/// A certificate (RFC 5280) in DER.
#[must_use]
pub fn certificate(shown: &Shown<'_>) -> Vec<u8> {
    let Shown { subject, issuer, names, until } = *shown;
    let until = until.map_or_else(|| element(UTC_TIME, b"491231235959Z"), last_second);
    let validity = [element(UTC_TIME, b"200101000000Z"), until].concat();
    let key = [&KEY[..], &element(BIT_STRING, &[&[0, 4][..], &[0x6b; 64]].concat())].concat();
    let serial = sha256(subject.as_bytes());
    let serial = serial.first_chunk::<8>().map_or([1; 8], |serial| serial.map(|b| b & 0x7f | 1));
    let mut parts = vec![
        element(0xa0, &element(INTEGER, &[2])),
        element(INTEGER, &serial),
        SIGNATURE.to_vec(),
        name(issuer),
        element(SEQUENCE, &validity),
        name(subject),
        element(SEQUENCE, &key),
    ];
    if !names.is_empty() {
        let names: Vec<u8> = names.iter().flat_map(|n| element(DNS_NAME, n.as_bytes())).collect();
        let value = element(OCTET_STRING, &element(SEQUENCE, &names));
        let extension = element(SEQUENCE, &[&ALTERNATIVE_NAME[..], &value].concat());
        parts.push(element(0xa3, &element(SEQUENCE, &extension)));
    }
    let body = element(SEQUENCE, &parts.concat());
    let signature = element(BIT_STRING, &[0, 0x30, 6, 2, 1, 1, 2, 1, 1]);
    element(SEQUENCE, &[body, SIGNATURE.to_vec(), signature].concat())
}

/// The last second of a day. RFC 5280 section 4.1.2.5 has years of two digits up to 2049.
fn last_second(day: Date) -> Vec<u8> {
    let digits: String = day.to_string().chars().filter(char::is_ascii_digit).collect();
    match digits.strip_prefix("19").or_else(|| digits.strip_prefix("20")) {
        Some(short) if ("1950".."2050").contains(&digits.get(..4).unwrap_or_default()) => {
            element(UTC_TIME, format!("{short}235959Z").as_bytes())
        }
        _ => element(GENERALIZED_TIME, format!("{digits}235959Z").as_bytes()),
    }
}

/// A distinguished name; RFC 4514 writes the last relative name first.
fn name(text: &str) -> Vec<u8> {
    let mut relative: Vec<Vec<u8>> = attributes(text)
        .iter()
        .map(|(kind, value)| {
            let kind = [&[6, 3, 0x55, 4][..], &[*kind]].concat();
            let attribute = [kind, element(UTF8_STRING, value.as_bytes())].concat();
            element(SET, &element(SEQUENCE, &attribute))
        })
        .collect();
    relative.reverse();
    element(SEQUENCE, &relative.concat())
}

/// The attributes of a name, each by the last number of its type below 2.5.4. A text that is not
/// made of attributes is a common name.
fn attributes(text: &str) -> Vec<(u8, String)> {
    const COMMON_NAME: u8 = 3;
    let mut parts = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, parts.last_mut()) {
            ('\\', Some(part)) => part.extend(letters.next()),
            (',', _) => parts.push(String::new()),
            (letter, Some(part)) => part.push(letter),
            (_, None) => {}
        }
    }
    let read = |part: &String| {
        let (kind, value) = part.split_once('=')?;
        let kind = match kind.trim() {
            "CN" => COMMON_NAME,
            "C" => 6,
            "L" => 7,
            "ST" => 8,
            "O" => 10,
            "OU" => 11,
            _ => return None,
        };
        Some((kind, value.to_owned()))
    };
    let all: Option<Vec<_>> = parts.iter().map(read).collect();
    all.unwrap_or_else(|| vec![(COMMON_NAME, text.to_owned())])
}

/// One element: tag, length (X.690 section 8.1.3), content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        Ok(short) => bytes.extend([0x81, short]),
        Err(_) => {
            bytes.push(0x82);
            bytes.extend(u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::tls::certificate;

    #[test]
    fn a_made_certificate_reads_as_what_it_was_asked_to_say() {
        for (issuer, read) in [
            ("Acme CA", "CN=Acme CA"),
            ("CN=Acme CA,O=Acme\\, Inc.,C=GB", "CN=Acme CA,O=Acme\\, Inc.,C=GB"),
        ] {
            let names: Vec<String> = (0..40).map(|n| format!("n{n}.acme.example")).collect();
            let shown = Shown { subject: "client", issuer, names: &names, until: None };
            let certificate = certificate::read(&certificate(&shown)).unwrap();
            assert_eq!(certificate.subject, "CN=client");
            assert_eq!(certificate.issuer, read);
            assert_eq!(certificate.names, names);
        }
    }

    #[test]
    fn a_certificate_ends_with_the_last_second_of_its_day() {
        for (until, last) in [
            (None, 2_524_607_999),
            (Date::parse_day("1970-01-01"), 86_399),
            (Date::parse_day("2027-06-30"), 1_814_399_999),
            (Date::parse_day("2049-12-31"), 2_524_607_999),
            (Date::parse_day("2050-01-01"), 2_524_694_399),
        ] {
            let shown = Shown { subject: "client", issuer: "ca", names: &[], until };
            let certificate = certificate::read(&certificate(&shown)).unwrap();
            assert!(certificate.names.is_empty());
            assert_eq!(certificate.validity.1, last, "{until:?}");
        }
    }
}
