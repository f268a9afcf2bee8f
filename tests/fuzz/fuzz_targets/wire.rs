//! Any bytes as a frame of any link: the first byte chooses the link, the rest is the frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate::wire::invariants::{LINKS, check};

fuzz_target!(|data: &[u8]| {
    let Some((first, frame)) = data.split_first() else { return };
    if let Some(link) = LINKS.get(usize::from(*first) % LINKS.len()) {
        check(frame, *link);
    }
});
