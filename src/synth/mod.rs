//! Deterministic frames and flows for tests and benches; wraps captures as GWLB does. Nothing here
//! is read by the engine.

pub mod gwlb;
pub mod packet;
pub mod session;
pub mod wrap;
