//! Bytes of a flow to facts: stream heads, protocol detection, TLS, QUIC, HTTP, DNS, PROXY protocol.
//! Knows no flows and no rules.
