//! Certificates that say what a test wants: right in form, signed by nobody. For conversations made
//! to order; nothing verifies them.

use crate::inspect::primitives::sha256;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;

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

/// A certificate (RFC 5280) in DER. Subject and issuer are a common name, or attributes as RFC 4514
/// writes them (`CN=Acme CA,O=Acme`); `names` are DNS alternative names.
#[must_use]
pub fn certificate(subject: &str, issuer: &str, names: &[String]) -> Vec<u8> {
    let validity = [time(b"200101000000Z"), time(b"491231235959Z")].concat();
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

fn time(text: &[u8]) -> Vec<u8> {
    element(UTC_TIME, text)
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
            let der = certificate("client", issuer, &names);
            let certificate = certificate::read(&der).unwrap();
            assert_eq!(certificate.subject, "CN=client");
            assert_eq!(certificate.issuer, read);
            assert_eq!(certificate.names, names);
        }
        assert!(certificate::read(&certificate("client", "ca", &[])).unwrap().names.is_empty());
    }
}
