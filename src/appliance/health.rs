//! Whether the load balancer should send packets here: a judgement over facts others gather, with
//! its reasons in words. Denials are no fault: they never make an instance unhealthy.

use super::config::Percent;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

/// A worker that did not come round for so long is stuck.
pub const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Samples, one a second, over which losses are judged.
pub const LOSS_SAMPLES: usize = 10;
/// With fewer packets than this in all samples, no share is judged: one lost packet of three is no
/// third of anything.
pub const LOSS_PACKETS_MIN: u64 = 100;

/// With fewer packets than this in all samples, it is not said that all of them are strangers'.
pub const STRANGERS_MIN: u64 = 3;

/// What the judgement rests on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// One for each worker.
    pub workers: Vec<WorkerFacts>,
    /// The share of packets lost is above its bound, as text.
    pub lossy: Option<String>,
    /// The last ruleset was refused, as text.
    pub refused: Option<String>,
    /// Why flow records cannot be written, as text.
    pub unwritten: Option<String>,
    /// Whoever sends, `gateways` does not name them; one of them.
    pub strangers: Option<Ipv4Addr>,
    /// Seconds by which the system's time was set since the start, where it was.
    pub skew: Option<i64>,
    /// What a drain says.
    pub drain: Option<DrainFacts>,
}

/// One worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerFacts {
    /// Since it last came round.
    pub silent: Duration,
    /// Whether its socket is open.
    pub open: bool,
}

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub struct DrainFacts {
    /// Whether the load balancer should know already.
    pub unhealthy: bool,
    /// Flows still served, once counted.
    pub left: Option<u64>,
}

/// The judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it is not healthy; healthy if there is none.
    pub reasons: Vec<String>,
    /// What somebody should look at all the same.
    pub notes: Vec<String>,
}

impl Health {
    /// Judges.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut health = Self::default();
        for (number, worker) in facts.workers.iter().enumerate() {
            if !worker.open {
                health
                    .reasons
                    .push(format!("worker {number}: the interface is down or its socket closed"));
            } else if worker.silent > SILENCE_MAX {
                let ms = worker.silent.as_millis();
                health.reasons.push(format!("worker {number}: no progress for {ms} ms"));
            }
        }
        if facts.workers.is_empty() {
            health.reasons.push("no worker runs".to_owned());
        }
        health.reasons.extend(facts.lossy.clone());
        if let Some(drain) = facts.drain {
            let text = match drain.left {
                Some(1) => "draining: 1 flow left".to_owned(),
                Some(left) => format!("draining: {left} flows left"),
                None => "draining".to_owned(),
            };
            if drain.unhealthy { health.reasons.push(text) } else { health.notes.push(text) }
        }
        health.notes.extend(facts.refused.clone());
        let unwritten = facts.unwritten.as_ref();
        health.notes.extend(unwritten.map(|why| format!("flow records are lost: {why}")));
        health.notes.extend(facts.strangers.map(|sender| {
            format!(
                "every packet comes from an address that `gateways` does not name, such as {sender}, \
                 and is dropped (unknown-gateway)"
            )
        }));
        health.notes.extend(facts.skew.map(|seconds| {
            format!(
                "the system's time was set by {seconds:+} s since the start: records are stamped by it, but \
                 expiry of rules and certificates goes by the time before; a restart takes it over"
            )
        }));
        health
    }

    /// Whether packets should be sent here.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.reasons.is_empty()
    }

    /// The body of the answer.
    #[must_use]
    pub fn json(&self) -> String {
        let status = if self.is_healthy() { "healthy" } else { "unhealthy" };
        let value = serde_json::json!({
            "status": status, "reasons": self.reasons, "notes": self.notes,
        });
        format!("{value}\n")
    }
}

/// Watches the share of packets that the back end loses. It turns lossy at a share, and back only
/// when the share is below half of it, so that health does not flap.
#[derive(Clone, Debug)]
pub struct LossMeter {
    max: Percent,
    /// Sums of received and lost packets, one a second.
    samples: VecDeque<(u64, u64)>,
    lossy: bool,
}

impl LossMeter {
    /// Lossy from this share on.
    #[must_use]
    pub const fn new(max: Percent) -> Self {
        Self { max, samples: VecDeque::new(), lossy: false }
    }

    /// Takes the sums since the start, once a second.
    pub fn sample(&mut self, received: u64, lost: u64) {
        let (received, lost) = window(&mut self.samples, (received, lost));
        let all = received.saturating_add(lost);
        let enough = all >= LOSS_PACKETS_MIN;
        self.lossy = if self.lossy {
            enough && self.max.half().reached(lost, all)
        } else {
            enough && self.max.reached(lost, all)
        };
    }

    /// Why it is lossy now.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let (received, lost) = added(&self.samples);
        let (all, max) = (received.saturating_add(lost), self.max);
        self.lossy.then(|| {
            format!("the back end lost {lost} of the last {all} packets; {max} is the bound")
        })
    }
}

/// Takes sums into a window of samples; gives what was added within it.
fn window(samples: &mut VecDeque<(u64, u64)>, sums: (u64, u64)) -> (u64, u64) {
    if samples.is_empty() {
        // The start: what came before the first look counts too.
        samples.push_back((0, 0));
    }
    if samples.len() > LOSS_SAMPLES {
        samples.pop_front();
    }
    samples.push_back(sums);
    added(samples)
}

fn added(samples: &VecDeque<(u64, u64)>) -> (u64, u64) {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return (0, 0) };
    (last.0.saturating_sub(first.0), last.1.saturating_sub(first.1))
}

/// Watches whether anybody sends whom `gateways` names. An instance that drops everything for that
/// reason works as it was told to, and is of no use.
#[derive(Clone, Debug, Default)]
pub struct StrangerMeter {
    /// Sums of all packets and of those of strangers, one a second.
    samples: VecDeque<(u64, u64)>,
    only: bool,
}

impl StrangerMeter {
    /// Takes the sums since the start, once a second. Silence changes nothing.
    pub fn sample(&mut self, received: u64, strangers: u64) {
        let (received, strangers) = window(&mut self.samples, (received, strangers));
        if received > strangers {
            self.only = false;
        } else if strangers >= STRANGERS_MIN {
            self.only = true;
        }
    }

    /// Whether only strangers send.
    #[must_use]
    pub const fn only(&self) -> bool {
        self.only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strangers_are_a_note_until_somebody_else_sends() {
        let mut meter = StrangerMeter::default();
        let mut only = |received, strangers| {
            meter.sample(received, strangers);
            meter.only()
        };
        assert_eq!([only(0, 0), only(2, 2), only(3, 3), only(4, 4)], [false, false, true, true]);
        for _ in 0..2 * LOSS_SAMPLES {
            assert!(only(4, 4), "silence says nothing new");
        }
        assert!(!only(8, 7));
        for _ in 0..LOSS_SAMPLES {
            assert!(!only(8, 7));
        }
        assert!(only(11, 10));
        let facts = Facts { strangers: Some([10, 99, 0, 1].into()), ..one(0, true) };
        let health = Health::of(&facts);
        assert!(health.is_healthy());
        assert!(health.json().contains("`gateways` does not name, such as 10.99.0.1"));
    }

    fn one(silent_ms: u64, open: bool) -> Facts {
        let silent = Duration::from_millis(silent_ms);
        Facts { workers: vec![WorkerFacts { silent, open }], ..Facts::default() }
    }

    #[test]
    fn a_worker_may_be_silent_for_a_second() {
        for (ms, healthy) in [(999, true), (1000, true), (1001, false)] {
            assert_eq!(Health::of(&one(ms, true)).is_healthy(), healthy, "{ms}");
        }
        assert!(!Health::of(&one(0, false)).is_healthy());
        assert!(!Health::of(&Facts::default()).is_healthy());
    }

    #[test]
    fn a_refused_ruleset_is_a_note_and_a_drain_what_the_target_group_needs() {
        let refused = Facts { refused: Some("refused".to_owned()), ..one(0, true) };
        let health = Health::of(&refused);
        assert!(health.is_healthy());
        assert!(health.json().contains("refused"));
        for unhealthy in [true, false] {
            let drain = Some(DrainFacts { unhealthy, left: Some(7) });
            let health = Health::of(&Facts { drain, ..one(0, true) });
            assert_eq!(health.is_healthy(), !unhealthy);
            assert!(health.json().contains("draining: 7 flows left"));
        }
    }

    #[test]
    fn a_flow_log_that_cannot_be_written_is_a_note() {
        let unwritten = Some("no space left".to_owned());
        let health = Health::of(&Facts { unwritten, ..one(0, true) });
        assert!(health.is_healthy());
        assert_eq!(health.notes, ["flow records are lost: no space left"]);
    }

    #[test]
    fn losses_count_from_their_share_on_and_until_half_of_it() {
        let mut meter = LossMeter::new(Percent::whole(1));
        meter.sample(0, 0);
        meter.sample(9_901, 99);
        assert_eq!(meter.reason(), None);
        meter.sample(9_901, 101);
        assert!(meter.reason().unwrap().contains("lost 101 of the last 10002"));
        meter.sample(20_000, 101);
        assert!(meter.reason().is_some(), "0.5 % is not below half of 1 %");
        meter.sample(40_000, 101);
        assert_eq!(meter.reason(), None);
    }

    #[test]
    fn old_losses_are_forgotten_and_few_packets_judge_nothing() {
        let mut meter = LossMeter::new(Percent::whole(1));
        meter.sample(0, 0);
        meter.sample(98, 1);
        assert_eq!(meter.reason(), None);
        meter.sample(99, 1);
        assert!(meter.reason().is_some());
        for _ in 0..LOSS_SAMPLES {
            meter.sample(99, 1);
        }
        assert_eq!(meter.reason(), None);
    }
}
