//! The compiled policy: segments, five-tuple classifier, name sets, and the one three-valued decision
//! function. Immutable; knows no files and no flows.
