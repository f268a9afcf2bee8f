//! Why a packet was dropped or a flow decided as it was. Every reason has one stable name, used in
//! logs, metrics, rule tests and golden files.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The cause of a verdict.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $variant,)+ }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    // Decisions.
    /// A rule decided.
    Rule = "rule",
    /// No rule was true; the policy's `otherwise` decided.
    Otherwise = "otherwise",
    /// No policy stands for this pair of segments.
    NoPolicy = "no-policy",
    /// The endpoint or an address belongs to no segment, or both sides to the wrong ones.
    UnknownSegment = "unknown-segment",
    /// What the rules ask for was not known at the bound of held bytes or time.
    Undecided = "undecided",
    /// A name that a rule asks for is not a valid name.
    MalformedName = "malformed-name",
    /// The name changed within one flow that carries one name.
    NameChanged = "name-changed",
    /// Encrypted ClientHello, and the ruleset denies it.
    EncryptedClientHello = "encrypted-client-hello",
    /// A client certificate is asked for and cannot be seen in this TLS version or session.
    CertificateNotVisible = "certificate-not-visible",
    /// The client's certificate is not valid yet, or no longer, and a rule asks that it be.
    CertificateNotInDate = "certificate-not-in-date",
    /// A DNS answer with an address that no rule lets come back, or to a question nobody asked.
    AnswerNotAllowed = "answer-not-allowed",
    /// The flow ended on its verdict; this packet came after.
    FlowDenied = "flow-denied",
    /// The flow was ended by command.
    Flushed = "flushed",
    /// The instance drains and takes no new flows.
    Draining = "draining",

    // Outer headers.
    /// The frame ends before its headers do.
    Truncated = "truncated",
    /// The frame carries no IP (ARP, LLDP, ...).
    NotIp = "not-ip",
    /// The outer source is no configured gateway.
    UnknownGateway = "unknown-gateway",
    /// The outer UDP checksum is wrong.
    OuterChecksum = "outer-checksum",
    /// Outer datagram that is no GENEVE where only GENEVE is expected.
    NotGeneve = "not-geneve",
    /// GENEVE version other than 0 (RFC 8926 section 3.4).
    GeneveVersion = "geneve-version",
    /// GENEVE control packet, O bit set (RFC 8926 section 3.4).
    GeneveControl = "geneve-control",
    /// GENEVE critical option that is not known (RFC 8926 section 3.5).
    GeneveCriticalOption = "geneve-critical-option",
    /// GENEVE option lengths do not add up to the header's (RFC 8926 section 3.5).
    GeneveOptionLength = "geneve-option-length",
    /// A GWLB option of the wrong fixed length (RFC 8926 section 3.5.1).
    GeneveOptionSize = "geneve-option-size",
    /// A GWLB option is missing.
    GeneveOptionMissing = "geneve-option-missing",
    /// A GWLB option is there twice.
    GeneveOptionRepeated = "geneve-option-repeated",
    /// GENEVE protocol type is neither IPv4 nor IPv6, or is not what the inner header says.
    GeneveProtocol = "geneve-protocol",
    /// VXLAN header without its I bit, or reserved protocol (RFC 7348 section 5).
    VxlanHeader = "vxlan-header",
    /// More encapsulations inside each other than are followed.
    TooDeep = "too-deep",
    /// A fragment of the outer datagram; GWLB does not fragment.
    OuterFragment = "outer-fragment",

    // Inner headers.
    /// IP version is neither 4 nor 6.
    IpVersion = "ip-version",
    /// IP header length or total length contradict each other or the frame.
    IpLength = "ip-length",
    /// IPv4 header checksum is wrong.
    IpChecksum = "ip-checksum",
    /// IPv4 options that are malformed or route the packet elsewhere (RFC 7126).
    IpOptions = "ip-options",
    /// IPv6 extension headers that are malformed, out of order or too many.
    Ipv6Extension = "ipv6-extension",
    /// An address that must not be on the wire: IPv4-mapped in an IPv6 header, multicast source.
    BadAddress = "bad-address",
    /// TCP header length is wrong.
    TcpHeader = "tcp-header",
    /// TCP flags that no connection produces (RFC 9293).
    TcpFlags = "tcp-flags",
    /// UDP length contradicts the packet.
    UdpLength = "udp-length",
    /// ICMP header too short, or the quoted packet is.
    IcmpHeader = "icmp-header",
    /// TCP, UDP or ICMP checksum is wrong.
    TransportChecksum = "transport-checksum",
    /// A packet longer than can be forwarded.
    TooBig = "too-big",

    // Fragments.
    /// Fragments are denied by the ruleset.
    FragmentsDenied = "fragments-denied",
    /// Fragments that overlap, or disagree about the end.
    FragmentOverlap = "fragment-overlap",
    /// A first fragment without the whole transport header, or a length that fits no fragment.
    FragmentTiny = "fragment-tiny",
    /// A fragment that came without its first one, or not all of them came in time.
    FragmentIncomplete = "fragment-incomplete",
    /// No room for more fragments.
    LimitFragments = "limit-fragments",

    // Flow state.
    /// A packet from the middle of a flow that is not known here.
    Midstream = "midstream",
    /// A packet of an unknown flow whose rules allow both or no orientation.
    MidstreamAmbiguous = "midstream-ambiguous",
    /// TCP sequence or acknowledgement outside the window.
    TcpWindow = "tcp-window",
    /// A TCP segment that does not fit the state of its connection.
    TcpState = "tcp-state",
    /// A packet of a connection that has been reset or closed.
    TcpClosed = "tcp-closed",
    /// SYN with data that does not decide the flow (RFC 7413: the client comes again without).
    SynData = "syn-data",
    /// An ICMP error that is too long, comes from or goes to others than it may, or is about no known flow
    /// (of the path MTU of one the rules allow it leaves shortened, as an answer).
    IcmpUnrelated = "icmp-unrelated",
    /// No room for one more flow, or for one more connection on the ports of a live one.
    LimitFlows = "limit-flows",
    /// The segment has as many flows as it may.
    LimitSegmentFlows = "limit-segment-flows",
    /// The segment opens flows faster than it may.
    LimitNewFlows = "limit-new-flows",

    // Held packets.
    /// A retransmission of bytes that are held.
    HeldDuplicate = "held-duplicate",
    /// Data behind a gap, beyond what may be held.
    HeldGap = "held-gap",
    /// No room to hold more for this flow, this segment or at all.
    LimitHeld = "limit-held",
    /// Held when its flow was denied.
    HeldDenied = "held-denied",
    /// Held when its flow was reset or expired, too long beside what was decided, or as part of what
    /// is read no more.
    HeldDiscarded = "held-discarded",

    // Inspection.
    /// A retransmission or an overlap that changes inspected bytes.
    InconsistentRetransmission = "inconsistent-retransmission",
    /// TCP urgent data in a stream under inspection: what the receiver reads is ambiguous.
    UrgentData = "urgent-data",
    /// A flow from a trusted proxy that starts without a PROXY protocol header.
    ProxyHeaderMissing = "proxy-header-missing",
    /// A PROXY protocol header that is malformed.
    ProxyHeaderMalformed = "proxy-header-malformed",
    /// A TLS record or handshake message that is malformed.
    TlsMalformed = "tls-malformed",
    /// A QUIC packet or frame that is malformed, that no known keys open, or that no server takes.
    QuicMalformed = "quic-malformed",
    /// An HTTP request that is malformed or ambiguous.
    HttpMalformed = "http-malformed",
    /// An HTTP/2 frame or header block that is malformed.
    Http2Malformed = "http2-malformed",
    /// A DNS message that is malformed.
    DnsMalformed = "dns-malformed",
    /// A parser reached its bound, or its segment has no room for one more flow under inspection.
    LimitInspection = "limit-inspection",
    /// The destination is no unexpired DNS answer for the name (`bind: dns`).
    NameNotBound = "name-not-bound",
    /// Bytes that contradict what the flow's first bytes said its protocol is.
    ProtocolContradiction = "protocol-contradiction",
    /// A tunnel inside an HTTP/2 connection: nobody looks into it, so a name in it would go unseen.
    OpaqueTunnel = "opaque-tunnel",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let names: HashSet<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for name in names {
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn numbers_are_positions() {
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
    }
}
