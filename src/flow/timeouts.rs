//! How long a flow may be idle, by protocol and state. Values only.

use crate::model::{Protocol, Span};

/// Idle times after which a flow is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP. The load balancer's own default is 350 s (its listener: 60 to 6000 s).
    pub tcp_idle: Span,
    /// TCP before its handshake is complete: the load balancer forgets a flow whose target did
    /// not answer within 30 s.
    pub tcp_half_open: Span,
    /// TCP after a first FIN; a half-closed download lives as long as it moves.
    pub tcp_closing: Span,
    /// TCP after both FINs. The load balancer may forget the connection then, and the last
    /// acknowledgement never comes by; time for what is repeated until it does (RFC 6298 section 5.5:
    /// each time after twice the wait), as Linux's own tracker has it.
    pub tcp_last_ack: Span,
    /// TCP after both FINs were acknowledged, or after a RST: room for what was under way.
    pub tcp_closed: Span,
    /// UDP. Behind the load balancer 120 s, fixed.
    pub udp: Span,
    /// ICMP and ICMPv6 echo. Behind the load balancer 120 s, fixed.
    pub icmp: Span,
    /// Every other protocol. Behind the load balancer 120 s, fixed.
    pub other: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_idle: Span::from_secs(350),
            tcp_half_open: Span::from_secs(30),
            tcp_closing: Span::from_secs(120),
            tcp_last_ack: Span::from_secs(30),
            tcp_closed: Span::from_secs(10),
            udp: Span::from_secs(120),
            icmp: Span::from_secs(120),
            other: Span::from_secs(120),
        }
    }
}

impl Timeouts {
    /// The timeout of a protocol without states of its own. TCP: the established one; see
    /// [`TcpTracker::timeout`](super::TcpTracker::timeout) for the rest.
    #[must_use]
    pub const fn of(&self, protocol: Protocol) -> Span {
        match protocol {
            Protocol::TCP => self.tcp_idle,
            Protocol::UDP => self.udp,
            Protocol::ICMP | Protocol::ICMPV6 => self.icmp,
            _ => self.other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_load_balancer() {
        let timeouts = Timeouts::default();
        assert_eq!(timeouts.of(Protocol::TCP), Span::from_secs(350));
        for protocol in [Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6, Protocol(47)] {
            assert_eq!(timeouts.of(protocol), Span::from_secs(120));
        }
    }
}
