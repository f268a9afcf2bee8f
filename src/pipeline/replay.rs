//! A run of engines over captures: the time of the engine is that of the captures, and the result
//! is a function of captures, policy and options alone.

use super::run::{Progress, Sink, Worker, run};
use super::shard::Sharder;
use crate::engine::{Counters, Engine, Frame, Limits, Output};
use crate::flow::Secret;
use crate::io::merge::Captures;
use crate::model::{EndpointId, Timestamp};
use crate::policy::Policy;
use crate::wire::Settings;
use std::sync::Arc;

/// Workers of one run.
pub const WORKERS_MAX: usize = 256;

/// How captures are replayed.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// How frames are read.
    pub settings: Settings,
    /// Bounds of the whole run; they are divided among workers.
    pub limits: Limits,
    /// At least one, at most [`WORKERS_MAX`].
    pub workers: usize,
    /// Frames without GWLB encapsulation count as from this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Keys the hash of flows. Nobody waits on a replay, so it may be the same each time.
    pub secret: Secret,
}

impl Default for ReplayOptions {
    /// One worker.
    fn default() -> Self {
        Self {
            settings: Settings::CAPTURE,
            // Nobody waits for a replay: every packet is told of.
            limits: Limits {
                strangers_per_second: u32::MAX,
                strangers_per_endpoint: u32::MAX,
                ..Limits::default()
            },
            workers: 1,
            endpoint: None,
            secret: Secret::new(0x6c6f_636b_6761_7465, 0x7265_706c_6179),
        }
    }
}

impl ReplayOptions {
    /// As many workers as asked for. A policy that binds names to DNS answers has one: what it says of
    /// a flow depends on answers in other flows, and only one worker sees both in the order they came.
    fn workers_for(&self, policy: &Policy) -> usize {
        if policy.binds() { 1 } else { self.workers.clamp(1, WORKERS_MAX) }
    }
}

/// What a replay leaves besides what its sink was given.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What all engines counted.
    pub counters: Counters,
    /// Packets read.
    pub packets: u64,
    /// Frames that came to the sink out of order.
    pub late: u64,
    /// Time of the latest packet.
    pub last: Timestamp,
}

impl Worker for Engine {
    fn process(&mut self, frames: &mut [Frame<'_>], out: &mut Output) {
        Self::process(self, frames, out);
    }

    fn finish(&mut self, now: Timestamp, out: &mut Output) {
        self.tick(now, out);
        Self::finish(self, out);
    }
}

/// Judges every packet of the captures.
///
/// # Errors
/// The sink's.
pub fn replay<S: Sink>(
    policy: &Arc<Policy>,
    captures: &mut Captures,
    options: &ReplayOptions,
    sink: &mut S,
    progress: &mut dyn FnMut(Progress),
) -> Result<Replayed, S::Error> {
    let workers = options.workers_for(policy);
    let limits = options.limits.share(workers);
    let engine = || {
        let (policy, secret) = (Arc::clone(policy), options.secret.clone());
        Engine::new(policy, limits.clone(), options.settings, secret)
            .with_bare_endpoint(options.endpoint)
    };
    let engines = (0..workers).map(|_| engine()).collect();
    let mut sharder = Sharder::new(options.settings, options.secret.clone(), workers);
    let finished = run(captures, &mut sharder, engines, sink, progress)?;
    let mut counters = Counters::default();
    for engine in &finished.workers {
        counters.merge(engine.counters());
    }
    let (packets, late, last) = (finished.packets, finished.late, finished.last);
    Ok(Replayed { counters, packets, late, last })
}
