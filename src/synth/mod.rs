//! Deterministic frames and flows for tests and benches; wraps captures as GWLB does.
