//! What a client certificate says: subject, issuer, names, fingerprint. The only user of
//! x509-parser. Nothing is verified; the server does that.

use crate::inspect::bytes::Reader;
use crate::inspect::primitives::sha256;
use crate::model::{Certificate, Reason};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::asn1_rs::{Oid, ToDer};
use x509_parser::prelude::{
    AttributeTypeAndValue, FromDer, GeneralName, ParsedExtension, X509Certificate, X509Name,
};

/// The most subject alternative names that are read.
pub const NAMES_LIMIT: usize = 256;

/// The first certificate of a Certificate message's body (RFC 5246 section 7.4.2); `None` if the
/// list is empty: the client has none.
///
/// # Errors
/// [`Reason::TlsMalformed`], or [`Reason::LimitInspection`] beyond [`NAMES_LIMIT`].
pub fn first(body: &[u8]) -> Result<Option<Certificate>, Reason> {
    let mut reader = Reader::new(body);
    let list = reader.vec24().filter(|_| reader.is_empty()).ok_or(Reason::TlsMalformed)?;
    if list.is_empty() {
        return Ok(None);
    }
    let der = Reader::new(list).vec24().ok_or(Reason::TlsMalformed)?;
    read(der).map(Some)
}

/// Reads one certificate.
///
/// # Errors
/// As [`first`].
pub fn read(der: &[u8]) -> Result<Certificate, Reason> {
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| Reason::TlsMalformed)?;
    if !rest.is_empty() {
        return Err(Reason::TlsMalformed);
    }
    let mut names = Vec::new();
    for extension in parsed.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension()
        else {
            continue;
        };
        if alternative.general_names.len() > NAMES_LIMIT.saturating_sub(names.len()) {
            return Err(Reason::LimitInspection);
        }
        names.extend(alternative.general_names.iter().filter_map(alternative_name));
    }
    let validity = parsed.validity();
    Ok(Certificate {
        subject: distinguished_name(parsed.subject()),
        issuer: distinguished_name(parsed.issuer()),
        names,
        sha256: sha256(der),
        validity: (validity.not_before.timestamp(), validity.not_after.timestamp()),
    })
}

/// A subject alternative name as text; kinds that have none are passed over. So is text that is not of
/// its kind (RFC 5280 section 4.2.1.6): conditions see the text alone, in which it would pass for
/// another's.
fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    match name {
        GeneralName::DNSName(text) => {
            (!text.contains([':', '/', '@']) && !is_address(text)).then(|| (*text).to_owned())
        }
        GeneralName::RFC822Name(text) => {
            (text.contains('@') && !text.contains(':')).then(|| (*text).to_owned())
        }
        GeneralName::URI(text) => {
            (has_scheme(text) && !is_address(text)).then(|| (*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => match *bytes {
            &[a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
            bytes => <[u8; 16]>::try_from(bytes).ok().map(|ip| Ipv6Addr::from(ip).to_string()),
        },
        _ => None,
    }
}

/// Whether text begins as a URI does (RFC 3986 section 3.1).
fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
}

/// A name as RFC 4514 section 2 writes it: the last relative name first.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut relative: Vec<String> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    relative.reverse();
    relative.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let mut text = match short_name(attribute.attr_type()) {
        Some(short) => short.to_owned(),
        None => attribute.attr_type().to_id_string(),
    };
    text.push('=');
    match attribute.as_str() {
        Ok(value) => escape(&mut text, value),
        Err(_) => {
            // RFC 4514 section 2.4: a value without string form is its encoding in hexadecimal.
            text.push('#');
            for byte in attribute.attr_value().to_der_vec().unwrap_or_default() {
                let _ = write!(text, "{byte:02x}");
            }
        }
    }
    text
}

/// The attribute types of RFC 4514 section 3 and the registered ones seen in certificates.
fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    let text = kind.to_id_string();
    let short = match text.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "givenName",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    };
    Some(short)
}

/// Escapes a value as RFC 4514 section 2.4 asks; control characters too, so that a certificate
/// cannot write into logs.
fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, letter) in value.chars().enumerate() {
        match letter {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', letter]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02x}");
                }
            }
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn der(names: usize) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "HU");
        params.distinguished_name.push(DnType::OrganizationName, " Acme, Inc.");
        params.distinguished_name.push(DnType::CommonName, "#client\n1");
        params.subject_alt_names = (0..names)
            .map(|at| SanType::DnsName(format!("c{at}.example").try_into().unwrap()))
            .collect();
        if names == 1 {
            params.subject_alt_names.push(SanType::IpAddress("2001:db8::1".parse().unwrap()));
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn subject_and_names_are_text_and_the_fingerprint_is_of_the_der() {
        let der = der(1);
        let certificate = read(&der).unwrap();
        assert_eq!(certificate.subject, "CN=\\#client\\0a1,O=\\ Acme\\, Inc.,C=HU");
        assert_eq!(certificate.issuer, certificate.subject);
        assert_eq!(certificate.names, ["c0.example", "2001:db8::1"]);
        assert_eq!(certificate.sha256, sha256(&der));
        assert!(certificate.validity.0 < certificate.validity.1);
    }

    #[test]
    fn a_name_whose_text_is_of_another_kind_is_none() {
        use GeneralName::{DNSName as Dns, RFC822Name as Mail, URI as Uri};
        for (name, stands) in [
            (Dns("gw.client.example"), true),
            (Dns("*.client.example"), true),
            (Dns("10.0.0.1"), false),
            (Dns("2001:db8::1"), false),
            (Dns("spiffe://client/gw"), false),
            (Dns("ops@client.example"), false),
            (Mail("ops@client.example"), true),
            (Mail("gw.client.example"), false),
            (Mail("spiffe://ops@client.example"), false),
            (Uri("spiffe://client/gw"), true),
            (Uri("urn:client:gw"), true),
            (Uri("gw.client.example"), false),
            (Uri("ops@client.example"), false),
            (Uri("10.0.0.1"), false),
            (Uri("fe80::1"), false),
            (Uri(":gw"), false),
        ] {
            assert_eq!(alternative_name(&name).is_some(), stands, "{name:?}");
        }
    }

    #[test]
    fn names_end_at_their_limit() {
        for (names, fits) in
            [(NAMES_LIMIT - 1, true), (NAMES_LIMIT, true), (NAMES_LIMIT + 1, false)]
        {
            let read = read(&der(names));
            assert_eq!(read.is_ok(), fits, "{names}");
        }
    }

    #[test]
    fn an_empty_list_is_no_certificate_and_a_cut_one_is_malformed() {
        assert_eq!(first(&[0, 0, 0]), Ok(None));
        let der = der(0);
        let length = |len: usize| u32::try_from(len).unwrap().to_be_bytes()[1..].to_vec();
        let body = [length(der.len() + 3), length(der.len()), der.clone()].concat();
        assert!(first(&body).unwrap().is_some());
        for end in 0..body.len() {
            assert_eq!(first(&body[..end]), Err(Reason::TlsMalformed), "{end}");
        }
    }
}
