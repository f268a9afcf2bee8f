//! PROXY protocol version 2 in front of datagrams. Senders put the header on every datagram or on the
//! first alone; both are read. The first header of the flow decides, and a later one that names
//! somebody else is a fault of its datagram.

use super::{HEADER_LIMIT, ProxyReader};
use crate::inspect::progress::Outcome;
use crate::model::{Direction, Fact, Facts, ProxyIdentity, Reason};

/// Reads the headers in front of the datagrams of one flow.
#[derive(Clone, Copy, Debug)]
pub(in crate::inspect) struct ProxyDatagrams {
    identity: Option<ProxyIdentity>,
}

impl ProxyDatagrams {
    pub(in crate::inspect) const fn new() -> Self {
        Self { identity: None }
    }

    /// What stands behind the headers of one datagram of the client. The flow's first header gives
    /// `facts.proxy`.
    pub(in crate::inspect) fn strip<'a>(
        &mut self,
        payload: &'a [u8],
        facts: &mut Facts,
    ) -> Result<&'a [u8], Reason> {
        match split(payload) {
            Ok((identity, rest)) => {
                let known = *self.identity.get_or_insert(identity);
                if known != identity {
                    return Err(Reason::ProxyHeaderMalformed);
                }
                facts.proxy = Fact::Known(known);
                Ok(rest)
            }
            Err(Reason::ProxyHeaderMissing) if self.identity.is_some() => Ok(payload),
            Err(reason) => {
                if reason == Reason::ProxyHeaderMissing {
                    facts.proxy = Fact::Absent;
                }
                Err(reason)
            }
        }
    }
}

/// Bytes of the headers a datagram starts with; 0 where there is none.
#[must_use]
pub fn headers_len(payload: &[u8]) -> usize {
    split(payload).map_or(0, |(_, rest)| payload.len().saturating_sub(rest.len()))
}

/// Who the first header of a datagram speaks for, and what stands behind all of them.
fn split(payload: &[u8]) -> Result<(ProxyIdentity, &[u8]), Reason> {
    let mut reader = ProxyReader::new();
    let mut facts = Facts::default();
    let mut rest = payload;
    for _ in 0..=HEADER_LIMIT {
        let progress = reader.read(Direction::Original, rest, &mut facts);
        match progress.outcome {
            Outcome::Fault(reason) => return Err(reason),
            // A header ends in the datagram it starts in.
            Outcome::More if progress.consumed == 0 && !rest.is_empty() => {
                return Err(Reason::ProxyHeaderMalformed);
            }
            _ => {}
        }
        rest = rest.get(progress.consumed..).unwrap_or_default();
        if rest.is_empty() || progress.outcome == Outcome::Switch {
            break;
        }
    }
    let Fact::Known(identity) = facts.proxy else { return Err(Reason::ProxyHeaderMissing) };
    Ok((identity, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::proxy::{LENGTH_LIMIT, SIGNATURE};
    use crate::model::EndpointId;

    fn header(endpoint: Option<u64>) -> Vec<u8> {
        let mut body = vec![192, 0, 2, 10, 198, 51, 100, 20, 0xca, 0xf2, 0, 53];
        if let Some(endpoint) = endpoint {
            let id = EndpointId(endpoint).to_string();
            body.extend([0xea, 0, id.len() as u8 + 1, 1]);
            body.extend(id.as_bytes());
        }
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x21, 0x12, 0, body.len() as u8]);
        bytes.extend(body);
        bytes
    }

    fn with(endpoint: u64, rest: &[u8]) -> Vec<u8> {
        [header(Some(endpoint)), rest.to_vec()].concat()
    }

    const QUERY: &[u8] = b"a query";

    #[test]
    fn a_header_on_every_datagram_or_on_the_first_alone_is_read() {
        let mut facts = Facts::default();
        let mut reader = ProxyDatagrams::new();
        assert_eq!(reader.strip(&with(7, QUERY), &mut facts), Ok(QUERY));
        assert_eq!(facts.proxy, Fact::Known(ProxyIdentity::Endpoint(EndpointId(7))));
        assert_eq!(reader.strip(&with(7, b"more"), &mut facts), Ok(&b"more"[..]));
        assert_eq!(reader.strip(QUERY, &mut facts), Ok(QUERY));
        assert_eq!(reader.strip(&header(Some(7)), &mut facts), Ok(&b""[..]));
    }

    #[test]
    fn the_first_header_decides_and_another_is_a_fault_of_its_datagram() {
        let mut facts = Facts::default();
        let mut reader = ProxyDatagrams::new();
        let twice = [header(Some(7)), with(9, QUERY)].concat();
        assert_eq!(reader.strip(&twice, &mut facts), Ok(QUERY), "further headers are skipped");
        let known = Fact::Known(ProxyIdentity::Endpoint(EndpointId(7)));
        assert_eq!(facts.proxy, known);
        let other = with(9, QUERY);
        assert_eq!(reader.strip(&other, &mut facts), Err(Reason::ProxyHeaderMalformed));
        assert_eq!(facts.proxy, known);
        assert_eq!(reader.strip(&with(7, QUERY), &mut facts), Ok(QUERY));
    }

    #[test]
    fn no_header_or_a_cut_one_is_told() {
        let whole = with(7, b"");
        for (payload, reason) in [
            (QUERY, Reason::ProxyHeaderMissing),
            (&whole[..whole.len() - 1], Reason::ProxyHeaderMalformed),
            (&whole[..5], Reason::ProxyHeaderMalformed),
        ] {
            let mut facts = Facts::default();
            assert_eq!(ProxyDatagrams::new().strip(payload, &mut facts), Err(reason));
        }
    }

    #[test]
    fn headers_end_at_their_limit() {
        for (count, good) in [(3, true), (4, true), (5, false)] {
            let payload = [header(Some(7)).repeat(count), QUERY.to_vec()].concat();
            let stripped = ProxyDatagrams::new().strip(&payload, &mut Facts::default());
            assert_eq!(stripped.is_ok(), good, "{count}");
        }
        for (len, good) in [(LENGTH_LIMIT, true), (LENGTH_LIMIT + 1, false)] {
            let mut payload = SIGNATURE.to_vec();
            payload.extend([0x20, 0]);
            payload.extend((len as u16).to_be_bytes());
            payload.resize(payload.len() + len, 0);
            let stripped = ProxyDatagrams::new().strip(&payload, &mut Facts::default());
            assert_eq!(stripped.is_ok(), good, "{len}");
        }
    }

    #[test]
    fn what_is_stripped_is_what_headers_len_says() {
        assert_eq!(headers_len(QUERY), 0);
        assert_eq!(headers_len(&with(7, QUERY)), header(Some(7)).len());
    }
}
