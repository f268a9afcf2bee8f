//! Runs captures through the engine and hands on what was seen of each flow. Keeps nothing itself.

use super::sighting::Sighting;
use crate::engine::record::Event;
use crate::io::merge::Captures;
use crate::pipeline::{Progress, ReplayOptions, Replayed, Settled, Sink, replay};
use crate::policy::Policy;
use std::convert::Infallible;
use std::sync::Arc;

/// Judges every packet of the captures and hands on every flow when it has ended, in no order.
pub fn gather<F: FnMut(Sighting) + Send>(
    policy: &Arc<Policy>,
    captures: &mut Captures,
    options: &ReplayOptions,
    take: F,
    progress: &mut dyn FnMut(Progress),
) -> Replayed {
    let mut gatherer = Gatherer { policy, take };
    match replay(policy, captures, options, &mut gatherer, progress) {
        Ok(replayed) => replayed,
        Err(never) => match never {},
    }
}

struct Gatherer<'p, F> {
    policy: &'p Policy,
    take: F,
}

impl<F: FnMut(Sighting) + Send> Sink for Gatherer<'_, F> {
    type Error = Infallible;

    fn wants_frames(&self) -> bool {
        false
    }

    fn frame(&mut self, _: Settled<'_>) -> Result<(), Infallible> {
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Infallible> {
        if let Event::FlowEnd(record) = event {
            (self.take)(Sighting::of(&record, self.policy));
        }
        Ok(())
    }
}
