//! PROXY protocol version 2 (haproxy.org, proxy-protocol.txt section 2.2): who a trusted proxy says
//! the client is. The first header decides; further ones are skipped. Version 1 is no header here.

mod crc32c;
mod datagrams;

pub(super) use datagrams::ProxyDatagrams;
pub use datagrams::headers_len;

use super::bytes::Reader;
use super::progress::{Outcome, Progress, Wants};
use crate::model::{Direction, EndpointId, Fact, Facts, ProxyIdentity, Reason};
use crc32c::crc32c;

/// The twelve bytes every header starts with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Headers read in front of one connection, the first included: proxies behind proxies.
pub const HEADER_LIMIT: u8 = 4;
/// Bytes of one header behind its fixed part. Real ones have 100 or so; a certificate's names can
/// make them longer.
pub const LENGTH_LIMIT: usize = 4096;

/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

/// Type of the CRC32C over the header.
const TLV_CRC32C: u8 = 0x03;
/// Type of what AWS adds, and the subtype with the id of a VPC endpoint.
const TLV_AWS: u8 = 0xea;
const AWS_VPCE_ID: u8 = 0x01;

/// Reads the headers in front of a connection from a trusted proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProxyReader {
    headers: u8,
}

impl ProxyReader {
    /// A connection from its first byte.
    #[must_use]
    pub const fn new() -> Self {
        Self { headers: 0 }
    }

    /// Reads one header, or finds that none is left and that another protocol starts
    /// ([`Outcome::Switch`]). The first header gives [`Outcome::Fact`]: who the client is. The
    /// server's bytes are not read.
    pub fn read(&mut self, direction: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        if direction == Direction::Reply {
            return Progress::more(0);
        }
        let known = bytes.iter().zip(&SIGNATURE).take_while(|(a, b)| a == b).count();
        if known < bytes.len().min(SIGNATURE.len()) {
            return self.no_header(facts);
        }
        let Some((fixed, body)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
            return Progress::more(0);
        };
        let [.., high, low] = *fixed;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if self.headers == HEADER_LIMIT || len > LENGTH_LIMIT {
            return Progress::fault(Reason::LimitInspection);
        }
        let Some(body) = body.get(..len) else { return Progress::more(0) };
        let Some(identity) = identity(fixed, body) else {
            return Progress::fault(Reason::ProxyHeaderMalformed);
        };
        self.headers = self.headers.saturating_add(1);
        let consumed = FIXED_BYTES.saturating_add(len);
        if self.headers > 1 {
            return Progress::more(consumed);
        }
        facts.proxy = Fact::Known(identity);
        Progress::fact(consumed)
    }

    /// The client's bytes alone.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        Wants::ORIGINAL
    }

    /// Whether the first header was read, so that the server may speak too.
    #[must_use]
    pub const fn is_identified(&self) -> bool {
        self.headers > 0
    }

    fn no_header(self, facts: &mut Facts) -> Progress {
        if self.headers > 0 {
            return Progress::new(0, Outcome::Switch);
        }
        facts.proxy = Fact::Absent;
        Progress::fault(Reason::ProxyHeaderMissing)
    }
}

/// Who a whole header speaks for; `None` if it is malformed.
fn identity(fixed: &[u8; FIXED_BYTES], body: &[u8]) -> Option<ProxyIdentity> {
    let [.., version_command, family, _, _] = *fixed;
    let addresses = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return None,
    };
    match version_command {
        // LOCAL: the proxy's own connection (a health check); what follows is to be ignored.
        0x20 => return Some(ProxyIdentity::Proxy),
        0x21 => {}
        _ => return None,
    }
    if family == 0 {
        // UNSPEC: the rest is to be ignored, TLVs included.
        return Some(ProxyIdentity::Proxy);
    }
    let tlvs = body.get(addresses..)?;
    let mut reader = Reader::new(tlvs);
    let mut endpoint = None;
    while !reader.is_empty() {
        let kind = reader.u8()?;
        let value = reader.vec16()?;
        match kind {
            TLV_CRC32C => check_sum(fixed, body, value, reader.len())?,
            TLV_AWS if value.first() == Some(&AWS_VPCE_ID) => {
                let id = vpc_endpoint(value.get(1..)?)?;
                // Two that disagree name nobody.
                if endpoint.is_some_and(|other| other != id) {
                    return None;
                }
                endpoint = Some(id);
            }
            _ => {}
        }
    }
    Some(endpoint.map_or(ProxyIdentity::Proxy, ProxyIdentity::Endpoint))
}

/// The sum covers the header with its own four bytes as zeros.
fn check_sum(fixed: &[u8], body: &[u8], value: &[u8], behind: usize) -> Option<()> {
    let sum = u32::from_be_bytes(value.try_into().ok()?);
    let end = body.len().checked_sub(behind)?;
    let field = end.checked_sub(4)?..end;
    let zeroed = body.iter().enumerate().map(|(at, &b)| if field.contains(&at) { 0 } else { b });
    (crc32c(fixed.iter().copied().chain(zeroed)) == sum).then_some(())
}

/// The id in the AWS TLV: ASCII, without a final NUL.
fn vpc_endpoint(text: &[u8]) -> Option<EndpointId> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
