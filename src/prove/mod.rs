//! Rule tests, explanations and reports, all by the production engine.

pub mod flow_log;
pub mod gather;
pub mod sighting;
pub mod suggest;
pub mod yaml;
