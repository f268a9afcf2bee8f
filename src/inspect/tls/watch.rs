//! Whether the client of a TLS 1.2 (or older) handshake has a certificate, told from the order of
//! its messages (RFC 5246 section 7.3). Knows messages, not records.

use super::certificate;
use super::lane::{CERTIFICATE, Event};
use crate::model::{Certificate, Fact, Reason};
use std::sync::Arc;

const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;

/// What was seen of the handshake.
#[derive(Debug, Default)]
pub struct Watch {
    requested: bool,
    hello_done: bool,
    certificate: Option<Arc<Certificate>>,
    verified: bool,
}

impl Watch {
    /// Takes the next message or `change_cipher_spec` of one side; the fact once it is certain. A
    /// certificate counts when its owner showed the key (CertificateVerify) and the server went on
    /// (its `change_cipher_spec`).
    ///
    /// # Errors
    /// [`Reason::TlsMalformed`] for a certificate that is malformed or comes twice.
    pub fn see(
        &mut self,
        from_client: bool,
        event: Event,
        body: &[u8],
    ) -> Result<Option<Fact<Arc<Certificate>>>, Reason> {
        match (from_client, event) {
            (false, Event::Message(CERTIFICATE_REQUEST)) => self.requested = true,
            (false, Event::Message(SERVER_HELLO_DONE)) => {
                self.hello_done = true;
                if !self.requested {
                    return Ok(Some(Fact::Absent));
                }
            }
            (false, Event::ChangeCipherSpec) => return Ok(Some(self.conclude())),
            (true, Event::Message(CERTIFICATE)) => {
                if self.certificate.is_some() {
                    return Err(Reason::TlsMalformed);
                }
                match certificate::first(body)? {
                    Some(certificate) => self.certificate = Some(Arc::new(certificate)),
                    None => return Ok(Some(Fact::Absent)),
                }
            }
            (true, Event::Message(CERTIFICATE_VERIFY)) => {
                self.verified = self.certificate.is_some();
            }
            (true, Event::ChangeCipherSpec) if self.hello_done && !self.verified => {
                return Ok(Some(Fact::Absent));
            }
            _ => {}
        }
        Ok(None)
    }

    /// The certificate whose owner showed the key, whatever the server made of it.
    pub fn shown(&mut self) -> Fact<Arc<Certificate>> {
        match self.certificate.take() {
            Some(certificate) if self.verified => Fact::Known(certificate),
            _ => Fact::Missed,
        }
    }

    fn conclude(&mut self) -> Fact<Arc<Certificate>> {
        if !self.hello_done {
            // No ServerHelloDone: the abbreviated handshake of a resumed session (RFC 5246 7.3).
            return Fact::Missed;
        }
        match self.certificate.take() {
            Some(certificate) if self.verified => Fact::Known(certificate),
            _ => Fact::Absent,
        }
    }
}
