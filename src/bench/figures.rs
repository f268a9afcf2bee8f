//! What was measured, in plain numbers: rounds to medians, medians to what a report shows.

use super::clock;
use serde::Serialize;

/// One mix.
#[derive(Clone, Debug, Serialize)]
pub struct MixFigures {
    /// Its word.
    pub mix: String,
    /// Flows the engine knew while it was measured.
    pub flows: usize,
    /// Frames of one round.
    pub frames: usize,
    /// Bytes of a frame on average, as on the wire.
    pub frame_bytes: f64,
    /// New flows for each frame.
    pub new_flows_share: f64,
    /// Shares of frames that were forwarded, held and dropped when they came.
    pub forwarded_share: f64,
    /// See above.
    pub held_share: f64,
    /// See above.
    pub dropped_share: f64,
    /// Nanoseconds of one core for a frame in the engine, over the rounds.
    pub engine_ns: Spread,
    /// The same in the floor; its flows are there beforehand, whatever the mix.
    pub floor_ns: Spread,
    /// The median of the ratios of neighbouring rounds.
    pub ratio: f64,
    /// Bytes of memory the process took for each flow while they were opened; none for few flows.
    pub flow_bytes: Option<f64>,
    /// Allocations for a thousand frames in the engine; those of its flows too, where it opens some.
    pub allocations_per_thousand: f64,
    /// Cycles of one core for a frame in the engine; none where they cannot be read.
    pub engine_cycles: Option<f64>,
    /// Time in the engine of a batch of [`LATENCY_BATCH`] frames, by percentile.
    pub latency: Vec<Percentile>,
    /// Where the engine's time goes.
    pub stages: Vec<StageFigures>,
}

/// Frames of a batch whose latency is measured.
pub const LATENCY_BATCH: usize = 32;

/// The percentiles that are reported.
pub const PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0];

/// A figure over many rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// As many rounds below as above.
    pub median: f64,
    /// The most.
    pub most: f64,
}

/// One point of a latency curve.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentile {
    /// Of a hundred frames, so many...
    pub percent: f64,
    /// ...left the engine within so many nanoseconds.
    pub ns: u64,
}

/// One part of the engine's work, done alone over the same frames.
#[derive(Clone, Debug, Serialize)]
pub struct StageFigures {
    /// Its name.
    pub stage: &'static str,
    /// Nanoseconds a frame.
    pub ns: f64,
    /// Share of the whole.
    pub share: f64,
}

/// So many workers.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerFigures {
    /// The mix.
    pub mix: String,
    /// How many.
    pub workers: usize,
    /// Frames a second where each worker has the frames of its own flows, as a network card
    /// delivers them.
    pub sharded_per_second: f64,
    /// The same through the pipeline: one thread reads a capture and hands batches to workers.
    pub pipeline_per_second: Option<f64>,
}

/// So many five-tuple rules.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RuleFigures {
    /// How many.
    pub rules: usize,
    /// Nanoseconds for a new flow of the connection storm.
    pub storm_ns: f64,
    /// Milliseconds to compile the ruleset.
    pub compile_ms: f64,
    /// Bytes of memory the compiled ruleset takes, 10 000 names included; 0 where the program does
    /// not count them.
    pub compiled_bytes: usize,
}

/// Everything one run measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The processor's name.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// Five-tuple rules in force.
    pub rules: usize,
    /// Rounds of each mix; every figure is their median unless it says otherwise.
    pub rounds: usize,
    /// The mixes.
    pub mixes: Vec<MixFigures>,
    /// By workers.
    pub workers: Vec<WorkerFigures>,
    /// By rules.
    pub by_rules: Vec<RuleFigures>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

impl Figures {
    /// Of this machine, nothing measured yet.
    #[must_use]
    pub fn here(rules: usize, rounds: usize) -> Self {
        Self {
            processor: clock::processor(),
            cores: clock::cores(),
            rules,
            rounds,
            mixes: Vec::new(),
            workers: Vec::new(),
            by_rules: Vec::new(),
            left_out: Vec::new(),
        }
    }
}

impl Spread {
    /// Over so many rounds; zeros over none.
    #[must_use]
    pub fn over(rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(0.0);
        Self { least: at(0), median: median(rounds), most: at(sorted.len().saturating_sub(1)) }
    }
}

impl MixFigures {
    /// Million frames a second on one core.
    #[must_use]
    pub fn millions(&self) -> f64 {
        1000.0 / self.engine_ns.median.max(f64::MIN_POSITIVE)
    }

    /// Gigabits a second on one core, without preamble, gap and frame check sequence.
    #[must_use]
    pub fn gigabits(&self) -> f64 {
        self.frame_bytes * 8.0 / self.engine_ns.median.max(f64::MIN_POSITIVE)
    }
}

/// The middle one of the figures; of an even number the mean of the middle two; 0 of none.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = sorted.get(half).copied().unwrap_or(0.0);
    if sorted.len().is_multiple_of(2) {
        let lower = half.checked_sub(1).and_then(|at| sorted.get(at)).copied().unwrap_or(0.0);
        f64::midpoint(lower, upper)
    } else {
        upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_few_rounds_is_the_middle_one() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[3.0, 1.0]), 2.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        let spread = Spread::over(&[9.0, 1.0, 2.0]);
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.0, 9.0));
    }
}
