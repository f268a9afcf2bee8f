//! Bytes of a flow to facts: stream heads, protocol detection, TLS, QUIC, HTTP, DNS, PROXY protocol.
//! Knows no flows and no rules.

pub mod bytes;
mod datagrams;
pub mod detect;
pub mod dns;
pub mod greeting;
pub mod http;
pub mod http2;
pub mod inspector;
pub mod preface;
pub mod primitives;
pub mod progress;
pub mod proxy;
pub mod quic;
pub mod stream;
pub mod tls;

pub use datagrams::{Speech, Strand, is_beginning, is_quic_middle};
pub use dns::DnsStreamReader;
pub use inspector::Inspector;
pub use progress::{Outcome, Progress, Wants};
pub use proxy::ProxyReader;
pub use stream::{Inserted, StreamHead};
