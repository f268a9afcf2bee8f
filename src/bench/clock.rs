//! The edge where a benchmark meets the machine: time of this thread, pinning, memory in use. No
//! figure is made here.

use perf_event::Counter;
use perf_event::events::Hardware;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::fs;

/// Nanoseconds this thread has run, not counting what others took from it.
#[must_use]
pub fn thread_ns() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}

/// Nanoseconds of wall time since some start.
#[must_use]
pub fn wall_ns() -> u64 {
    nanos(ClockId::Monotonic)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Counts this thread's cycles outside the kernel.
#[derive(Debug)]
pub struct Cycles(Option<Counter>);

impl Cycles {
    /// Counts from now on, where processor and kernel let it; a guest often has no such counter.
    #[must_use]
    pub fn count() -> Self {
        let counter = perf_event::Builder::new(Hardware::CPU_CYCLES).exclude_kernel(true).build();
        let mut counter = counter.ok();
        let counting = counter.as_mut().is_some_and(|counter| counter.enable().is_ok());
        Self(counter.filter(|_| counting))
    }

    /// How many so far; none where they cannot be read.
    pub fn so_far(&mut self) -> Option<u64> {
        self.0.as_mut().and_then(|counter| counter.read().ok())
    }
}

/// Keeps this thread on one core; where that is refused it stays where it is.
pub fn pin(core: usize) -> bool {
    let mut cores = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return false;
    }
    cores.set(core);
    sched_setaffinity(None, &cores).is_ok()
}

/// Cores this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of memory this process has in use; 0 where the system does not tell.
#[must_use]
pub fn resident_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size()
}

/// Bytes of memory that could still be taken; none where the system does not tell.
#[must_use]
pub fn available_bytes() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// The processor's own name.
#[must_use]
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let name = name.trim_start_matches([' ', '\t', ':']).trim();
    if name.is_empty() { std::env::consts::ARCH.to_owned() } else { name.to_owned() }
}
