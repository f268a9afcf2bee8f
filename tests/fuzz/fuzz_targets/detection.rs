//! Fuzz target `detection`; what it does with its bytes stands in `targets.rs`.

#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "each target uses its own")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::detection(data));
