//! Composes wire, flow, inspect and policy: a batch of frames in, verdicts, answers and events out.

pub mod record;
