//! ClientHellos made to order, for synthetic traffic, tests and benches. Nothing of what is
//! inspected comes this way.

/// What a hello offers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offer<'a> {
    /// `legacy_version`; 0 is TLS 1.2.
    pub version: u16,
    /// Host names of the server name extension; none leaves it out.
    pub names: &'a [&'a [u8]],
    /// Cipher suites; none is a usual set.
    pub ciphers: &'a [u16],
    /// `supported_versions`; none leaves it out.
    pub versions: &'a [u16],
    /// ALPN protocols; none leaves it out.
    pub protocols: &'a [&'a [u8]],
    /// Bytes of one key share (X25519 32, X25519MLKEM768 1216); 0 leaves it out.
    pub key_share: usize,
    /// Further extensions, in front of the others.
    pub extensions: &'a [(u16, &'a [u8])],
}

const USUAL_CIPHERS: [u16; 8] = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9];

impl Offer<'_> {
    /// The handshake message with its header; `None` if a length fits no field.
    #[must_use]
    pub fn message(&self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        body.extend(if self.version == 0 { 0x0303 } else { self.version }.to_be_bytes());
        body.extend([0x5a; 32]);
        body.push(32);
        body.extend([0xa5; 32]);
        let ciphers = if self.ciphers.is_empty() { &USUAL_CIPHERS } else { self.ciphers };
        body.extend(with_length16(&words(ciphers))?);
        body.extend([1, 0]);
        body.extend(with_length16(&self.extension_list()?)?);
        let [_, size @ ..] = u32::try_from(body.len()).ok()?.to_be_bytes();
        Some([&[1][..], &size, &body].concat())
    }

    /// The message in records of at most `size` bytes of payload.
    #[must_use]
    pub fn records(&self, size: usize) -> Option<Vec<u8>> {
        let message = self.message()?;
        let mut bytes = Vec::new();
        for part in message.chunks(size.max(1)) {
            bytes.extend([22, 3, 1]);
            bytes.extend(with_length16(part)?);
        }
        Some(bytes)
    }

    fn extension_list(&self) -> Option<Vec<u8>> {
        let mut list = Vec::new();
        let mut extension = |kind: u16, data: &[u8]| {
            list.extend(kind.to_be_bytes());
            list.extend(with_length16(data)?);
            Some(())
        };
        for &(kind, data) in self.extensions {
            extension(kind, data)?;
        }
        if !self.names.is_empty() {
            let mut names = Vec::new();
            for name in self.names {
                names.push(0);
                names.extend(with_length16(name)?);
            }
            extension(0, &with_length16(&names)?)?;
        }
        extension(10, &with_length16(&words(&[0x001d, 0x0017, 0x11ec]))?)?;
        extension(13, &with_length16(&words(&[0x0403, 0x0804, 0x0401]))?)?;
        if !self.protocols.is_empty() {
            let mut protocols = Vec::new();
            for protocol in self.protocols {
                protocols.push(u8::try_from(protocol.len()).ok()?);
                protocols.extend_from_slice(protocol);
            }
            extension(16, &with_length16(&protocols)?)?;
        }
        if !self.versions.is_empty() {
            let versions = words(self.versions);
            extension(43, &[&[u8::try_from(versions.len()).ok()?], &versions[..]].concat())?;
        }
        if self.key_share > 0 {
            let share = [&words(&[0x11ec])[..], &with_length16(&vec![0x77; self.key_share])?];
            extension(51, &with_length16(&share.concat())?)?;
        }
        Some(list)
    }
}

fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn with_length16(bytes: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(bytes.len()).ok()?.to_be_bytes();
    Some([&len[..], bytes].concat())
}
