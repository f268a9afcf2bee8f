//! The running instance as everybody but its workers sees it: what it can be asked and told. HTTP,
//! the control socket and signals all come down to these methods.

use super::clock::Clock;
use super::command::{Command, Explained, Found, Task, Walk};
use super::config::{Config, DrainConfig};
use super::denied::Kept;
use super::drain::{Drain, Over};
use super::filter::Filter;
use super::flow_log::{FlowLog, LogStats};
use super::health::{Facts, Health, LossMeter, StrangerMeter, WorkerFacts};
use super::reload::Refusal;
use super::totals::{Snapshot, Totals};
use super::worker::Pulse;
use crate::io::live::Losses;
use crate::model::{FiveTuple, ScopeId, Timestamp};
use crate::policy::Policy;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a worker may take for an answer between two batches.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a walk over all flows may take.
const WALK: Duration = Duration::from_secs(60);

/// A worker as others see it.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where it takes commands.
    pub commands: Sender<Command>,
    /// What may be read of it.
    pub pulse: Arc<Pulse>,
}

/// A worker did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Its number.
    pub worker: usize,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} does not answer", self.worker)
    }
}

impl std::error::Error for Silent {}

/// The instance.
pub struct Instance {
    pub(super) config: Config,
    pub(super) clock: Clock,
    /// Wall time of the start.
    pub(super) started: Timestamp,
    /// What the ports are, in a few words.
    pub(super) backend: String,
    workers: Vec<Handle>,
    log: Option<FlowLog>,
    pub(super) state: Mutex<State>,
    /// Held during a reload: there is one at a time.
    pub(super) reloading: Mutex<()>,
    /// Rulesets installed and refused since the start.
    pub(super) reloads: [AtomicU64; 2],
}

/// What changes while the instance runs.
pub(super) struct State {
    pub(super) policy: Arc<Policy>,
    /// When the policy was installed.
    pub(super) installed: Timestamp,
    /// Why the last ruleset was refused; none if it was not.
    pub(super) refusal: Option<Refusal>,
    losses: LossMeter,
    strangers: StrangerMeter,
    drain: Option<Drain>,
}

impl Instance {
    /// An instance of workers that are about to run.
    #[must_use]
    pub fn new(
        config: Config,
        clock: Clock,
        backend: String,
        policy: Arc<Policy>,
        workers: Vec<Handle>,
        log: Option<FlowLog>,
    ) -> Self {
        let state = State {
            policy,
            installed: Clock::wall(),
            refusal: None,
            losses: LossMeter::new(config.max_loss),
            strangers: StrangerMeter::default(),
            drain: None,
        };
        Self {
            config,
            clock,
            started: Clock::wall(),
            backend,
            workers,
            log,
            state: Mutex::new(state),
            reloading: Mutex::new(()),
            reloads: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    /// How many workers there are.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.state().policy)
    }

    /// What became of flow records, where there is a flow log.
    #[must_use]
    pub fn log_stats(&self) -> Option<&LogStats> {
        self.log.as_ref().map(|log| &**log.stats())
    }

    /// The sums of all workers.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub fn totals(&self) -> Result<Totals, Silent> {
        let mut totals = Totals::default();
        for snapshot in self.snapshots()? {
            totals.add(&snapshot);
        }
        Ok(totals)
    }

    /// The sums of each worker.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub fn snapshots(&self) -> Result<Vec<Box<Snapshot>>, Silent> {
        self.ask(ANSWER, Command::Snapshot)
    }

    /// Does something with all flows that are meant; `room` of them are listed.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub fn walk(&self, task: &Task, filter: &Filter, room: usize) -> Result<Found, Silent> {
        let all = self.ask(WALK, |reply| {
            Command::Walk(Box::new(Walk::new(task.clone(), filter.clone(), room, reply)))
        })?;
        let mut found = Found::default();
        for one in all {
            found.merge(one);
        }
        found.flows.sort_by_key(|(live, _)| live.age_order());
        found.changes.sort_by_key(|(live, _)| live.age_order());
        Ok(found)
    }

    /// How the flow of a five-tuple came to its verdict, if it is known.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub fn explain(
        &self,
        scope: ScopeId,
        tuple: FiveTuple,
    ) -> Result<Option<Box<Explained>>, Silent> {
        let all = self.ask(ANSWER, |reply| Command::Explain(scope, tuple, reply))?;
        Ok(all.into_iter().flatten().next())
    }

    /// The kept packets of denied flows, oldest first.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub fn denied(&self) -> Result<Vec<Kept>, Silent> {
        let all = self.ask(ANSWER, Command::Denied)?;
        let mut kept: Vec<Kept> = all.into_iter().flatten().collect();
        kept.sort_by_key(|kept| kept.at);
        Ok(kept)
    }

    /// Asks every worker the same and waits for all answers.
    pub(super) fn ask<T>(
        &self,
        wait: Duration,
        command: impl Fn(Sender<T>) -> Command,
    ) -> Result<Vec<T>, Silent> {
        let mut answers: Vec<Receiver<T>> = Vec::with_capacity(self.workers.len());
        for (worker, handle) in self.workers.iter().enumerate() {
            let (reply, answer) = bounded(1);
            let sent = handle.commands.send_timeout(command(reply), ANSWER);
            sent.map_err(|_| Silent { worker })?;
            answers.push(answer);
        }
        let all = answers.iter().enumerate();
        all.map(|(worker, answer)| answer.recv_timeout(wait).map_err(|_| Silent { worker }))
            .collect()
    }

    /// Begins to leave; a drain under way goes on with the new settings.
    pub fn drain(&self, config: DrainConfig) {
        let drain = Drain::new(config, self.clock.elapsed());
        self.tell_all(|| Command::Refuse(drain.refuses()));
        tracing::info!(
            deadline_seconds = config.deadline.as_secs(),
            new_flows = ?config.new_flows,
            target_failover = ?config.failover,
            "draining"
        );
        self.state().drain = Some(drain);
    }

    /// Stays after all; whether there was a drain.
    pub fn stay(&self) -> bool {
        let was = self.state().drain.take().is_some();
        if was {
            self.tell_all(|| Command::Refuse(false));
            tracing::info!("the drain is called off");
        }
        was
    }

    /// The drain under way, with the time it has left.
    #[must_use]
    pub fn draining(&self) -> Option<(Drain, Duration)> {
        let now = self.clock.elapsed();
        self.state().drain.map(|drain| (drain, drain.remaining(now)))
    }

    /// Counts the flows a drain waits for; whether it is over.
    pub fn look_at_drain(&self) -> Option<Over> {
        self.state().drain?;
        let left = self.walk(&Task::CountServed, &Filter::default(), 0).map(|found| found.matched);
        let now = self.clock.elapsed();
        let mut state = self.state();
        let drain = state.drain.as_mut()?;
        if let Ok(left) = left {
            drain.count(left, now);
        }
        drain.over(now)
    }

    /// What each worker's port has lost.
    #[must_use]
    pub fn port_losses(&self) -> Vec<Losses> {
        let of =
            |handle: &Handle| handle.pulse.losses.lock().map_or_else(|e| **e.get_ref(), |l| *l);
        self.workers.iter().map(of).collect()
    }

    /// Takes the sums that health rests on, once a second.
    pub fn sample(&self) {
        let sum = |of: fn(&Pulse) -> &AtomicU64| {
            let all = self.workers.iter().map(|handle| of(&handle.pulse).load(Ordering::Relaxed));
            all.fold(0_u64, u64::saturating_add)
        };
        let lost = self.port_losses().iter().map(Losses::total).fold(0, u64::saturating_add);
        // In this order: what comes in between is no stranger's.
        let strangers = sum(|pulse| &pulse.strangers);
        let received = sum(|pulse| &pulse.received);
        let mut state = self.state();
        state.losses.sample(received, lost);
        state.strangers.sample(received, strangers);
    }

    /// One of those who send, if `gateways` names none of them.
    #[must_use]
    pub fn strangers(&self) -> Option<Ipv4Addr> {
        self.stranger(self.state().strangers.only())
    }

    fn stranger(&self, only: bool) -> Option<Ipv4Addr> {
        let mut all = self.workers.iter().map(|one| one.pulse.stranger.load(Ordering::Relaxed));
        all.find(|sender| only && *sender != 0).map(Ipv4Addr::from_bits)
    }

    /// DNS answers of one worker that another found no room for.
    #[must_use]
    pub fn untold(&self) -> u64 {
        let all = self.workers.iter().map(|one| one.pulse.untold.load(Ordering::Relaxed));
        all.fold(0, u64::saturating_add)
    }

    /// Whole seconds by which the system's time was set since the start, if it was by one at least.
    #[must_use]
    pub fn skew(&self) -> Option<i64> {
        let nanos = self.workers.first().map_or(0, |one| one.pulse.skew.load(Ordering::Relaxed));
        Some(nanos / 1_000_000_000).filter(|seconds| *seconds != 0)
    }

    /// Whether the load balancer should send packets here.
    #[must_use]
    pub fn health(&self) -> Health {
        let now = self.clock.elapsed();
        let state = self.state();
        Health::of(&Facts {
            workers: self.worker_facts(),
            lossy: state.losses.reason(),
            refused: state.refusal.as_ref().map(Refusal::sentence),
            unwritten: self.log_stats().and_then(LogStats::failure),
            strangers: self.stranger(state.strangers.only()),
            skew: self.skew(),
            drain: state.drain.map(|drain| drain.facts(now)),
        })
    }

    /// How each worker is.
    #[must_use]
    pub fn worker_facts(&self) -> Vec<WorkerFacts> {
        let now = self.clock.elapsed_ms();
        let facts = |handle: &Handle| WorkerFacts {
            silent: Duration::from_millis(
                now.saturating_sub(handle.pulse.beat_ms.load(Ordering::Relaxed)),
            ),
            open: handle.pulse.open.load(Ordering::Relaxed),
        };
        self.workers.iter().map(facts).collect()
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.workers.iter().all(|handle| handle.pulse.gone.load(Ordering::Relaxed))
    }

    /// Opens the flow log's file anew.
    pub fn reopen_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Ends every flow and every worker.
    pub fn stop(&self) {
        self.tell_all(|| Command::Stop);
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for (worker, handle) in self.workers.iter().enumerate() {
            if handle.commands.send_timeout(command(), ANSWER).is_err() {
                tracing::warn!(worker, "a command finds no worker");
            }
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
