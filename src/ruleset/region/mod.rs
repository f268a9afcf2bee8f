//! The space of all flows, and what rules cut out of it: addresses × ports × protocol × ICMP type ×
//! application × TLS facts × certificate × names × time. Guardrails, lint and diff ask it; every
//! flow it names is judged again by the production decision function before anybody sees it.
//!
//! ```text
//! policy ─▶ grounds: who can meet whom, from and to which addresses ─▶ boxes ┐
//! rules  ─▶ asks: one box each ──────────────────────────────────────────────┴▶ search ─▶ flow
//!                                              languages ◀ words (automata) ◀─┘
//! ```
//!
//! The flows of the space are those whose facts are settled (each known, absent or hidden by the
//! protocol), and those of which nothing was seen. What is undecided in between ends as one of
//! these, or with `otherwise`.

mod area;
mod asks;
mod flow;
mod grounds;
mod kinds;
mod languages;
mod ranges;
mod search;
#[cfg(test)]
pub(crate) mod tests;
mod witness;
mod words;

pub use area::{Area, Room, Symbol};
pub use asks::{
    ABSENT, APP_DNS, APP_HTTP, APP_OTHER, APP_QUIC, APP_TLS, Asks, Dimension, HIDDEN, MISSED,
    NO_PORT, NameAsk, NameDimension, UNLISTED, Values, addresses, ipv4, ipv6, ports,
};
pub use flow::{Flow, Shown, ShownCertificate};
pub use grounds::{Ground, Scope, grounds, scopes, usual_endpoint};
pub use kinds::boxes;
pub use languages::{COMBINATIONS_LIMIT, Languages, SetId};
pub use ranges::Ranges;
pub use search::{BOXES_LIMIT, Left, left, pieces};
pub use witness::{Sides, Witness};
pub use words::{Alphabet, STATES_LIMIT, Word};
