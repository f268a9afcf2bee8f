//! What one measurement runs: frames, the flows there should be, and how time passes.

use super::captures::Loaded;
use super::mix::Mix;
use super::rules::{self, Rules};
use super::tape::Tape;
use crate::model::Span;

/// How long a UDP flow lasts, and so how far apart loops over a capture are laid out.
const IDLE: Span = Span::from_secs(120);

/// Frames and their flows.
#[derive(Debug)]
pub struct Load {
    /// What it is called in reports.
    pub name: String,
    /// The frames of one round.
    pub tape: Tape,
    /// The mix whose flows are opened before it is measured; none where every round brings new
    /// ones.
    pub opening: Option<Mix>,
    /// Flows there should be at one time.
    pub flows: usize,
    /// Flows there may be.
    pub room: usize,
    /// Time between two frames.
    pub gap: Span,
    /// How long it runs until as many flows end as begin.
    pub settling: Span,
}

impl Load {
    /// A mix of so many frames (0: as many as it has by itself).
    #[must_use]
    pub fn of_mix(mix: Mix, rules: &Rules, frames: usize) -> Self {
        // What the flooded partner reserves is not there for the others.
        let reserved = rules::FLOOD_FLOWS as usize;
        let spare = if mix.known() { reserved } else { reserved + mix.flows() / 2 };
        Self {
            name: mix.word(),
            tape: mix.tape(rules, frames),
            opening: mix.known().then_some(mix),
            flows: mix.flows(),
            room: mix.flows().saturating_add(spare),
            gap: mix.gap(),
            settling: mix.settling(),
        }
    }

    /// Captures in a loop, each time with other addresses and ports, so slowly that about `flows`
    /// are there at one time.
    #[must_use]
    pub fn of_captures(loaded: Loaded, flows: usize) -> Self {
        let frames = loaded.tape.len().max(1) as u64;
        let loops = (flows / loaded.flows.max(1)).max(1) as u64;
        let gap = Span::from_nanos((IDLE.as_nanos() / loops / frames).max(1));
        Self {
            name: "captures".to_owned(),
            tape: loaded.tape,
            opening: None,
            flows,
            room: flows.saturating_mul(2).saturating_add(loaded.flows),
            gap,
            settling: IDLE,
        }
    }
}
