//! Deterministic frames and flows for tests and benches; wraps captures as GWLB does. Nothing here
//! is read by the engine.

pub mod conversation;
pub mod gwlb;
pub mod packet;
pub mod ruleset;
pub mod session;
pub mod speech;
pub mod wrap;
pub mod x509;
