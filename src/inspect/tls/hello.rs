//! The bodies of ClientHello and ServerHello (RFC 8446 sections 4.1.2 and 4.1.3, RFC 5246 section
//! 7.4.1), whatever carried them: records or CRYPTO frames. Nothing is copied.

use crate::inspect::bytes::Reader;
use crate::model::{Ech, TlsVersion};

/// Handshake message type of a ClientHello.
pub const CLIENT_HELLO: u8 = 1;
/// Handshake message type of a ServerHello.
pub const SERVER_HELLO: u8 = 2;
/// Extension type of the server name (RFC 6066 section 3).
pub const SERVER_NAME: u16 = 0;
/// Extension type of ALPN (RFC 7301).
pub const ALPN: u16 = 16;

const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;
/// `ServerHello.random` of a HelloRetryRequest (RFC 8446 section 4.1.3).
pub(crate) const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What carries the hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS over a stream.
    Tcp,
    /// TLS inside QUIC.
    Quic,
}

/// A ClientHello. Lists are raw bytes without the length in front of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// `legacy_version`.
    pub version: u16,
    /// Cipher suites, two bytes each.
    pub ciphers: &'a [u8],
    /// All extensions: type, length, data.
    pub extensions: &'a [u8],
    /// The host name, if the extension is there and names one.
    pub name: Option<&'a [u8]>,
    /// Whether the server name extension is there.
    pub has_server_name: bool,
    /// ALPN protocols, each with a one-byte length.
    pub protocols: &'a [u8],
    /// `supported_versions`, two bytes each.
    pub versions: &'a [u8],
    /// Signature algorithms, two bytes each, if the extension is there.
    pub signatures: &'a [u8],
    /// Groups, two bytes each.
    pub groups: &'a [u8],
    /// Point formats, one byte each.
    pub formats: &'a [u8],
    /// Whether early data is announced.
    pub early_data: bool,
    /// Encrypted ClientHello or its predecessor.
    pub ech: Ech,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a ClientHello; `None` if it is malformed: a length that does not fit, an
    /// extension that is there twice, more than one host name.
    #[inline]
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let mut hello = Self { version: reader.u16()?, ..Self::default() };
        reader.array::<32>()?;
        let session = reader.vec8()?;
        if session.len() > 32 {
            return None;
        }
        hello.ciphers = reader.vec16()?;
        let compressions = reader.vec8()?;
        if hello.ciphers.is_empty()
            || !hello.ciphers.len().is_multiple_of(2)
            || compressions.is_empty()
        {
            return None;
        }
        if !reader.is_empty() {
            hello.extensions = reader.vec16()?;
        }
        if !reader.is_empty() {
            return None;
        }
        hello.read_extensions()?;
        Some(hello)
    }

    #[inline]
    fn read_extensions(&mut self) -> Option<()> {
        let mut reader = Reader::new(self.extensions);
        let mut seen = 0_u64;
        while !reader.is_empty() {
            let kind = reader.u16()?;
            let data = reader.vec16()?;
            // RFC 8446 section 4.2: one of each type. All that are read have types below 64.
            if kind < 64 {
                let bit = 1_u64 << kind;
                if seen & bit != 0 {
                    return None;
                }
                seen |= bit;
            }
            match kind {
                SERVER_NAME => {
                    self.has_server_name = true;
                    self.name = host_name(data)?;
                }
                SUPPORTED_GROUPS => self.groups = list16(data)?,
                POINT_FORMATS => self.formats = whole(data, Reader::vec8)?,
                SIGNATURE_ALGORITHMS => self.signatures = list16(data)?,
                ALPN => self.protocols = whole(data, Reader::vec16)?,
                EARLY_DATA => self.early_data = true,
                SUPPORTED_VERSIONS => self.versions = whole(data, Reader::vec8)?,
                ENCRYPTED_CLIENT_HELLO => self.ech = Ech::Present,
                ENCRYPTED_SERVER_NAME if self.ech == Ech::None => self.ech = Ech::Esni,
                _ => {}
            }
        }
        Some(())
    }

    /// The highest version offered: of `supported_versions` without GREASE where there is one.
    #[must_use]
    pub fn offered(&self) -> TlsVersion {
        let listed = words(self.versions).filter(|&version| !is_grease(version)).max();
        TlsVersion(listed.unwrap_or(self.version))
    }

    /// The first ALPN protocol, if any.
    #[must_use]
    pub fn protocol(&self) -> Option<&'a [u8]> {
        Reader::new(self.protocols).vec8()
    }

    /// The types of all extensions in their order.
    pub fn extension_types(&self) -> impl Iterator<Item = u16> + use<'a> {
        let mut reader = Reader::new(self.extensions);
        std::iter::from_fn(move || {
            let kind = reader.u16()?;
            reader.vec16()?;
            Some(kind)
        })
    }
}

/// What is read of a ServerHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The version chosen, `supported_versions` considered.
    pub version: TlsVersion,
    /// Chosen through `supported_versions`: TLS 1.3 or one of its drafts.
    pub sealed: bool,
    /// It is a HelloRetryRequest.
    pub retry: bool,
}

impl ServerHello {
    /// Reads the body of a ServerHello; `None` if it is malformed.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let legacy = reader.u16()?;
        let random = reader.array::<32>()?;
        if legacy == 0x0304 || legacy >> 8 == 0x7f {
            // Drafts up to 21 have neither session id nor compression, and name the version here.
            let version = TlsVersion(legacy);
            return Some(Self { version, sealed: true, retry: false });
        }
        if reader.vec8()?.len() > 32 {
            return None;
        }
        reader.array::<3>()?;
        let retry = random == RETRY_RANDOM;
        let mut hello = Self { version: TlsVersion(legacy), sealed: false, retry };
        if reader.is_empty() {
            return Some(hello);
        }
        let mut extensions = Reader::new(reader.vec16()?);
        if !reader.is_empty() {
            return None;
        }
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let data = extensions.vec16()?;
            if kind == SUPPORTED_VERSIONS {
                let version = u16::from_be_bytes(data.try_into().ok()?);
                hello.version = TlsVersion(version);
                hello.sealed = true;
            }
        }
        Some(hello)
    }
}

/// Whether a value is one of GREASE (RFC 8701): 0x?a?a with both bytes the same.
#[inline]
#[must_use]
pub const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// The two-byte values of a list.
pub fn words(list: &[u8]) -> impl Iterator<Item = u16> + '_ {
    list.as_chunks::<2>().0.iter().map(|&word| u16::from_be_bytes(word))
}

/// What a length in front covers, if that is all there is.
#[inline]
fn whole<'a>(
    data: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    let mut reader = Reader::new(data);
    let list = read(&mut reader)?;
    reader.is_empty().then_some(list)
}

/// A list of two-byte values.
#[inline]
fn list16(data: &[u8]) -> Option<&[u8]> {
    whole(data, Reader::vec16).filter(|list| list.len().is_multiple_of(2))
}

/// The host name of a server name list (RFC 6066 section 3): the only one of type 0; names of other
/// types are passed over. The outer `None` is malformed.
#[inline]
#[allow(clippy::option_option, reason = "malformed, absent and present are three different things")]
fn host_name(data: &[u8]) -> Option<Option<&[u8]>> {
    let mut list = Reader::new(whole(data, Reader::vec16)?);
    let mut found = None;
    while !list.is_empty() {
        let kind = list.u8()?;
        let name = list.vec16()?;
        if kind == 0 {
            if found.is_some() {
                return None;
            }
            found = Some(name);
        }
    }
    Some(found)
}
