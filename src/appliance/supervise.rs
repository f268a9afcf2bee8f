//! The loop of the main thread: signals, changed files, drains, losses, systemd. It
//! sees no packet.

use super::drain::Over;
use super::flow_log::LossTeller;
use super::instance::Instance;
use super::notify::Notify;
use super::remarks::{HealthRemarks, LossRemarks, Lost, Turned};
use super::start::Threads;
use super::watch::Watch;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How soon a signal is followed.
const ROUND: Duration = Duration::from_millis(50);
/// Rounds between two looks at what needs no hurry: a second.
const ROUNDS_A_SECOND: u64 = 20;

/// Signals that came.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    reload: Arc<AtomicBool>,
    leave: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
}

impl Signals {
    /// Takes SIGHUP (reload), SIGTERM and SIGINT (leave), SIGUSR1 (open the flow log anew).
    ///
    /// # Errors
    /// If the system refuses.
    pub fn take() -> io::Result<Self> {
        let signals = Self::default();
        for (signal, flag) in [
            (SIGHUP, &signals.reload),
            (SIGTERM, &signals.leave),
            (SIGINT, &signals.leave),
            (SIGUSR1, &signals.reopen),
        ] {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        Ok(signals)
    }
}

/// How an instance left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Drained, or told twice to leave.
    Asked,
    /// Its ports work no more.
    Dead,
}

/// Looks after an instance until it is to leave, and lets it go.
#[must_use]
pub fn supervise(
    instance: &Arc<Instance>,
    threads: Threads,
    signals: &Signals,
    notify: &Notify,
) -> Left {
    let plural = if instance.workers() == 1 { "" } else { "s" };
    notify.ready(&format!("serving, {} worker{plural}", instance.workers()));
    tracing::info!(
        workers = instance.workers(),
        interface = instance.config.port.interface,
        ruleset = %instance.config.ruleset.display(),
        "serving"
    );
    let mut rounds = Rounds::new(instance);
    let left = loop {
        if let Some(left) = rounds.round(instance, signals, notify) {
            break left;
        }
        thread::sleep(ROUND);
    };
    notify.stopping();
    instance.stop();
    for fault in threads.join() {
        tracing::error!(%fault, "a port failed");
    }
    let _ = std::fs::remove_file(&instance.config.control);
    tracing::info!("stopped");
    left
}

/// What is kept from round to round.
struct Rounds {
    number: u64,
    watch: Option<Watch>,
    alive_at: Duration,
    health: HealthRemarks,
    losses: Vec<LossRemarks>,
    records: LossTeller,
    skew: Option<i64>,
}

impl Rounds {
    fn new(instance: &Instance) -> Self {
        let watch = instance.config.watch.then(|| Watch::new(&instance.config.ruleset));
        let losses = vec![LossRemarks::default(); instance.workers()];
        let (alive_at, health) = (Duration::ZERO, HealthRemarks::default());
        let records = LossTeller::default();
        Self { number: 0, watch, alive_at, health, losses, records, skew: None }
    }

    fn round(
        &mut self,
        instance: &Arc<Instance>,
        signals: &Signals,
        notify: &Notify,
    ) -> Option<Left> {
        self.number = self.number.wrapping_add(1);
        if signals.reopen.swap(false, Ordering::Relaxed) {
            instance.reopen_log();
        }
        if signals.reload.swap(false, Ordering::Relaxed) {
            reload(instance, "SIGHUP");
        }
        if signals.leave.swap(false, Ordering::Relaxed) {
            if instance.draining().is_some() {
                tracing::info!("told twice to leave: the drain is cut short");
                return Some(Left::Asked);
            }
            instance.drain(instance.config.drain);
        }
        let skew = instance.skew();
        if skew != self.skew {
            self.skew = skew;
            let seconds = skew.unwrap_or_default();
            tracing::warn!(seconds, "the system's time was set: records are stamped by it");
        }
        self.tell_systemd(instance, notify);
        self.remark_health(instance);
        if !self.number.is_multiple_of(ROUNDS_A_SECOND) {
            return None;
        }
        instance.sample();
        self.remark_losses(instance);
        self.remark_strangers(instance);
        if let Some(stats) = instance.log_stats() {
            self.records.look(stats, instance.clock.elapsed());
        }
        if instance.is_dead() {
            tracing::error!("no port works any more");
            return Some(Left::Dead);
        }
        self.look_at_files(instance);
        self.look_at_drain(instance, notify)
    }

    fn tell_systemd(&mut self, instance: &Instance, notify: &Notify) {
        let Some(every) = notify.watchdog() else { return };
        let now = instance.clock.elapsed();
        let alive = instance.worker_facts().iter().all(|worker| worker.silent < every);
        if alive && now.saturating_sub(self.alive_at) >= every / 2 {
            self.alive_at = now;
            notify.alive();
        }
    }

    fn remark_health(&mut self, instance: &Instance) {
        match self.health.take(instance.clock.elapsed(), &instance.health()) {
            Some(Turned::Unhealthy(reasons)) => tracing::warn!(reasons, "unhealthy"),
            Some(Turned::Healthy(after)) => {
                tracing::info!(after_seconds = after.as_secs(), "healthy again");
            }
            None => {}
        }
    }

    fn remark_losses(&mut self, instance: &Instance) {
        let (now, interface) = (instance.clock.elapsed(), &instance.config.port.interface);
        let ports = self.losses.iter_mut().zip(instance.port_losses());
        for (worker, (remarks, losses)) in ports.enumerate() {
            match remarks.take(now, &losses) {
                Some(Lost::More(frames, causes)) => {
                    tracing::warn!(worker, interface, frames, causes, "frames were lost");
                }
                Some(Lost::Over(frames, time)) => {
                    let seconds = time.as_secs().saturating_add(1);
                    tracing::info!(
                        worker,
                        interface,
                        frames,
                        seconds,
                        "no frames are lost any more"
                    );
                }
                None => {}
            }
        }
    }

    fn remark_strangers(&mut self, instance: &Instance) {
        let sender = instance.strangers();
        match (self.health.strangers(sender.is_some()), sender) {
            (Some(true), Some(sender)) => tracing::warn!(
                %sender,
                "every packet comes from an address that `gateways` does not name, and is dropped \
                 (unknown-gateway)"
            ),
            (Some(false), _) => tracing::info!("packets come from `gateways` now"),
            _ => {}
        }
    }

    fn look_at_files(&mut self, instance: &Arc<Instance>) {
        let path = &instance.config.ruleset;
        if self.watch.as_mut().is_some_and(|watch| watch.changed(path)) {
            reload(instance, "changed files");
        }
    }

    fn look_at_drain(&self, instance: &Instance, notify: &Notify) -> Option<Left> {
        let over = instance.look_at_drain();
        let (drain, remaining) = instance.draining()?;
        let left = drain.left().unwrap_or(0);
        notify.status(&format!("draining, {left} flows left, {} s", remaining.as_secs()));
        match over? {
            Over::Empty => tracing::info!("drained: no flow is left"),
            Over::Deadline => tracing::warn!(left, "the drain's deadline is over"),
        }
        Some(Left::Asked)
    }
}

/// Reads the ruleset on a thread of its own: compiling a large one takes seconds, and workers must
/// be looked after meanwhile.
fn reload(instance: &Arc<Instance>, why: &'static str) {
    tracing::info!(why, "reading the ruleset");
    let instance = Arc::clone(instance);
    let spawned = thread::Builder::new().name("reload".to_owned()).spawn(move || {
        // It has been told to the log, to metrics and to health.
        let _ = instance.reload();
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "the ruleset cannot be read");
    }
}
