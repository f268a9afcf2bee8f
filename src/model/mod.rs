//! The words everything shares: ids, five-tuple, names, facts, reasons, verdicts, time.
//!
//! Plain values without behaviour beyond their own validity. No I/O, no clock, no policy.

mod addr;
mod fact;
mod ids;
mod name;
mod reason;
mod time;
mod tuple;
mod verdict;

pub use addr::Addr;
pub use fact::{
    ApiId, App, Certificate, Ech, Fact, Facts, Ja4, ProxyIdentity, QuicVersion, TlsFacts,
    TlsVersion,
};
pub use ids::{
    AttachmentId, EndpointId, Epoch, FlowCookie, IdError, PolicyId, RuleId, ScopeId, SegmentId,
};
pub use name::{DomainName, NAME_LIMIT_BYTES, NameFault};
pub use reason::Reason;
pub use time::{Span, TimeFault, Timestamp};
pub use tuple::{Direction, FiveTuple, Protocol};
pub use verdict::{Action, FlowVerdict, Verdict};
