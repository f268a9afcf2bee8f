//! What a ruleset does, shown before it ships: rule tests, mutants, explanations, suggestions, lint,
//! what a change does. All of it runs the production engine and the production decision function;
//! nothing imitates them.

pub mod diff;
pub mod explain;
pub mod flow_log;
pub mod gather;
pub mod import;
pub mod lint;
pub mod observed;
pub mod parallel;
pub mod report;
pub mod rule_test;
pub mod sarif;
pub mod sighting;
pub mod space;
pub mod suggest;
pub mod trace;
pub mod yaml;
