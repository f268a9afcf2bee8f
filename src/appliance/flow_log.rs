//! The flow log: events of all workers as JSON lines in one file, written by a thread of its own. A
//! slow disk never slows packets: what finds no room in the queue is lost, and counted.

use super::config::FlowLogConfig;
use super::rulesets::Rulesets;
use super::sink::{Lines, Sink};
use crate::engine::record::Event;
use crate::observe::event_json;
use crate::policy::Policy;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How soon a request to reopen is followed while nothing comes.
const LOOK_FOR_ROTATION: Duration = Duration::from_millis(200);
/// Lines are gathered up to about so many bytes for one write.
const WRITE_BYTES: usize = 256 << 10;
/// How long a worker that stops waits for room before it counts its records as lost.
const STOPPING: Duration = Duration::from_secs(10);
/// Between two looks for room.
const LOOK: Duration = Duration::from_millis(2);
/// Records that find no room are told of at once, and then as long as that apart.
const LOSSES_APART: Duration = Duration::from_secs(60);

/// What became of records.
#[derive(Debug, Default)]
pub struct LogStats {
    /// In the queue.
    pub waiting: AtomicUsize,
    /// Written.
    pub written: AtomicU64,
    /// Lost: no room in the queue, or the file could not be written.
    pub lost: AtomicU64,
    /// Of those lost, for how many there was no room in the queue.
    pub crowded_out: AtomicU64,
    /// Why records cannot be written now.
    failure: Mutex<Option<String>>,
}

impl LogStats {
    /// Why records cannot be written and are lost now.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records taken out of the queue so far.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let lost = load(&self.lost).saturating_sub(load(&self.crowded_out));
        load(&self.written).saturating_add(lost)
    }

    fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Tells of records that found no room in the queue: never more than once in a while.
#[derive(Debug, Default)]
pub struct LossTeller {
    told: u64,
    told_at: Option<Duration>,
}

impl LossTeller {
    /// How many were lost since this was told last, if that is to be told `now`, on a clock that only
    /// goes forward.
    pub fn due(&mut self, stats: &LogStats, now: Duration) -> Option<u64> {
        let lost = stats.crowded_out.load(Ordering::Relaxed);
        let soon = self.told_at.is_some_and(|at| now.saturating_sub(at) < LOSSES_APART);
        if lost == self.told || soon {
            return None;
        }
        self.told_at = Some(now);
        Some(lost.saturating_sub(std::mem::replace(&mut self.told, lost)))
    }

    /// Tells the process log, if that is due.
    pub fn look(&mut self, stats: &LogStats, now: Duration) {
        if let Some(records) = self.due(stats, now) {
            tracing::warn!(records, "flow records are lost: the queue of the flow log is full");
        }
    }
}

/// What is sent to the writer.
enum Piece {
    /// Events of one worker, and the policy that gives them names.
    Events(Arc<Policy>, Vec<Event>),
    /// No worker runs any more.
    End,
}

/// The workers' end of the log.
#[derive(Clone)]
pub struct FlowLog {
    pieces: Sender<Piece>,
    stats: Arc<LogStats>,
    limit: usize,
    reopen: Arc<AtomicBool>,
}

/// The thread that writes; it ends, with everything written, at [`FlowLog::end`] or when every
/// [`FlowLog`] is gone.
pub struct Writer {
    pieces: Receiver<Piece>,
    stats: Arc<LogStats>,
    reopen: Arc<AtomicBool>,
    path: Option<PathBuf>,
    out: Lines,
}

/// Opens the log.
///
/// # Errors
/// If the file cannot be opened for appending.
pub fn open(config: &FlowLogConfig) -> io::Result<(FlowLog, Writer)> {
    let out = match &config.file {
        Some(path) => Lines::append(path)?,
        None => Lines::new(Sink::Stream(Box::new(io::stdout()))),
    };
    Ok(with(out, config.file.clone(), config.queue))
}

/// A log to any writer; `path` is what reopening opens.
#[must_use]
pub fn to(
    out: Box<dyn io::Write + Send>,
    path: Option<PathBuf>,
    limit: usize,
) -> (FlowLog, Writer) {
    with(Lines::new(Sink::Stream(out)), path, limit)
}

fn with(out: Lines, path: Option<PathBuf>, limit: usize) -> (FlowLog, Writer) {
    let (sender, pieces) = unbounded();
    let (stats, reopen) = (Arc::new(LogStats::default()), Arc::new(AtomicBool::new(false)));
    let log =
        FlowLog { pieces: sender, stats: Arc::clone(&stats), limit, reopen: Arc::clone(&reopen) };
    (log, Writer { pieces, stats, reopen, path, out })
}

impl FlowLog {
    /// Takes a batch's events; those beyond the queue's bound are lost and counted. Gives how many.
    pub fn send(&self, rulesets: &Rulesets, events: &mut Vec<Event>) -> u64 {
        let wanted = |event: &Event| is_wanted(ruleset_of(rulesets, event), event);
        let mut events: Vec<Event> = events.drain(..).filter(wanted).collect();
        if events.is_empty() {
            return 0;
        }
        let before = self.stats.waiting.fetch_add(events.len(), Ordering::Relaxed);
        let room = self.limit.saturating_sub(before).min(events.len());
        let beyond = events.len().saturating_sub(room);
        events.truncate(room);
        self.stats.waiting.fetch_sub(beyond, Ordering::Relaxed);
        self.stats.crowded_out.fetch_add(beyond as u64, Ordering::Relaxed);
        let mut lost = beyond;
        let mut events = events.into_iter().peekable();
        while let Some(first) = events.next() {
            let policy = Arc::clone(ruleset_of(rulesets, &first));
            let mut piece = vec![first];
            let same = |event: &Event| Arc::ptr_eq(ruleset_of(rulesets, event), &policy);
            while let Some(event) = events.next_if(same) {
                piece.push(event);
            }
            let count = piece.len();
            if self.pieces.send(Piece::Events(policy, piece)).is_err() {
                self.stats.waiting.fetch_sub(count, Ordering::Relaxed);
                lost = lost.saturating_add(count);
            }
        }
        self.stats.lost.fetch_add(lost as u64, Ordering::Relaxed);
        lost as u64
    }

    /// For how many records there is room that nothing presses for: half of the queue is left to those
    /// of packets.
    #[must_use]
    pub fn spare_room(&self) -> usize {
        self.limit.div_ceil(2).saturating_sub(self.stats.waiting.load(Ordering::Relaxed))
    }

    /// As [`Self::send`], but waits for room: for a worker that judges no packets any more.
    pub fn send_at_stop(&self, rulesets: &Rulesets, events: Vec<Event>) {
        let piece_len = self.limit.clamp(1, 1024);
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let mut piece: Vec<Event> = events.by_ref().take(piece_len).collect();
            let mut waited = Duration::ZERO;
            while waited < STOPPING
                && self.stats.waiting.load(Ordering::Relaxed).saturating_add(piece.len())
                    > self.limit
            {
                thread::sleep(LOOK);
                waited = waited.saturating_add(LOOK);
            }
            self.send(rulesets, &mut piece);
        }
    }

    /// Everything has been sent: the writer ends when it is written.
    pub fn end(&self) {
        // A writer that has ended needs no telling.
        let _ = self.pieces.send(Piece::End);
    }

    /// Opens the file anew before the next record: it was moved away.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// What became of records.
    #[must_use]
    pub fn stats(&self) -> &Arc<LogStats> {
        &self.stats
    }
}

/// The ruleset an event belongs to.
fn ruleset_of<'a>(rulesets: &'a Rulesets, event: &Event) -> &'a Arc<Policy> {
    match event {
        Event::FlowStart(record) | Event::FlowEnd(record) | Event::MessageDenied(record) => {
            rulesets.of(record.epoch)
        }
        Event::PacketDropped(_) => rulesets.present(),
    }
}

/// Whether a rule asks for this record. What no rule decided is recorded at its end.
fn is_wanted(policy: &Policy, event: &Event) -> bool {
    let Event::FlowEnd(record) = event else { return true };
    let rule = record.verdict.and_then(|verdict| verdict.rule).and_then(|id| policy.rule(id));
    rule.is_none_or(|rule| rule.log.at_end())
}

impl Writer {
    /// Writes until the end.
    pub fn run(mut self) {
        let mut lines = String::new();
        let mut ended = false;
        while !ended {
            let count = match self.pieces.recv_timeout(LOOK_FOR_ROTATION) {
                Ok(piece) => self.gather(piece, &mut lines, &mut ended),
                Err(RecvTimeoutError::Timeout) => 0,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.follow_rotation();
            self.write(&mut lines, count);
        }
    }

    /// Everything that waits, up to a bound, as lines; gives the number of records.
    fn gather(&self, first: Piece, lines: &mut String, ended: &mut bool) -> usize {
        let mut count = 0_usize;
        let mut next = Some(first);
        while let Some(piece) = next {
            let Piece::Events(policy, events) = piece else {
                *ended = true;
                break;
            };
            for event in &events {
                lines.push_str(&event_json(event, &*policy));
                lines.push('\n');
            }
            count = count.saturating_add(events.len());
            next = if lines.len() < WRITE_BYTES { self.pieces.try_recv().ok() } else { None };
        }
        count
    }

    fn write(&mut self, lines: &mut String, count: usize) {
        if count == 0 {
            return;
        }
        let (written, result) = self.out.write(lines.as_bytes());
        lines.clear();
        self.stats.written.fetch_add(written, Ordering::Relaxed);
        self.stats.lost.fetch_add((count as u64).saturating_sub(written), Ordering::Relaxed);
        self.stats.waiting.fetch_sub(count, Ordering::Relaxed);
        let failing = self.stats.failure().is_some();
        match result {
            Err(error) if !failing => {
                tracing::error!(%error, "flow records cannot be written and are lost");
                self.stats.set_failure(Some(error.to_string()));
            }
            Ok(()) if failing => {
                tracing::info!("flow records are written again");
                self.stats.set_failure(None);
            }
            _ => {}
        }
    }

    fn follow_rotation(&mut self) {
        if !self.reopen.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(path) = &self.path else { return };
        match Lines::append(path) {
            Ok(lines) => {
                self.out = lines;
                tracing::info!(file = %path.display(), "flow log opened again");
            }
            Err(error) => tracing::error!(
                file = %path.display(), %error,
                "the flow log cannot be opened again; records go on into the old file"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::{Ended, FlowRecord};
    use crate::model::{FiveTuple, ScopeId, Timestamp};
    use crate::policy::spec::PolicySpec;

    fn rulesets() -> Rulesets {
        let policy = Policy::compile(&PolicySpec::default(), None).unwrap();
        Rulesets::new(crate::model::Epoch(1), Arc::new(policy))
    }

    fn events(count: usize) -> Vec<Event> {
        let mut record =
            FlowRecord::new(ScopeId::default(), FiveTuple::default(), Timestamp::from_secs(1));
        record.ended = Some(Ended::Closed);
        vec![Event::FlowEnd(record); count]
    }

    fn nowhere() -> (FlowLog, Writer) {
        to(Box::new(io::sink()), None, 10)
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("lockgate-log-{}-{name}", std::process::id()))
    }

    fn lines(path: &PathBuf) -> usize {
        std::fs::read_to_string(path).unwrap_or_default().lines().count()
    }

    #[test]
    fn records_beyond_the_bound_are_lost_and_counted() {
        for (count, lost) in [(9, 0), (10, 0), (11, 1)] {
            let (log, writer) = nowhere();
            log.send(&rulesets(), &mut events(count));
            assert_eq!(log.stats.lost.load(Ordering::Relaxed), lost);
            assert_eq!(log.stats.crowded_out.load(Ordering::Relaxed), lost);
            let stats = Arc::clone(log.stats());
            drop(log);
            writer.run();
            assert_eq!(stats.written.load(Ordering::Relaxed), count as u64 - lost);
            assert_eq!(stats.waiting.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn losses_are_told_at_once_and_then_a_minute_apart_with_their_sum() {
        let (stats, mut teller) = (LogStats::default(), LossTeller::default());
        let mut at = |lost: u64, ms: u64| {
            stats.crowded_out.store(lost, Ordering::Relaxed);
            teller.due(&stats, Duration::from_millis(ms))
        };
        assert_eq!(at(0, 0), None);
        assert_eq!(at(5, 1_000), Some(5));
        assert_eq!(at(5, 2_000), None);
        assert_eq!(at(9, 60_999), None);
        assert_eq!(at(9, 61_000), Some(4));
        assert_eq!(at(9, 200_000), None);
    }

    #[test]
    fn half_of_the_queue_is_spare_until_it_fills() {
        let (log, _writer) = nowhere();
        for (count, spare) in [(0, 5), (4, 1), (1, 0), (1, 0)] {
            log.send(&rulesets(), &mut events(count));
            assert_eq!(log.spare_room(), spare);
        }
    }

    #[test]
    fn a_moved_file_is_followed_when_asked() {
        let (first, second) = (path("a"), path("b"));
        let config = FlowLogConfig { file: Some(first.clone()), queue: 100 };
        let (log, writer) = open(&config).unwrap();
        let thread = thread::spawn(move || writer.run());
        log.send(&rulesets(), &mut events(3));
        while log.stats.written.load(Ordering::Relaxed) < 3 {
            thread::sleep(LOOK);
        }
        std::fs::rename(&first, &second).unwrap();
        log.reopen();
        log.send(&rulesets(), &mut events(2));
        drop(log);
        thread.join().unwrap();
        assert_eq!((lines(&second), lines(&first)), (3, 2));
        for file in [first, second] {
            std::fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn a_full_disk_loses_records_and_says_how_many() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (log, writer) = to(Box::new(Full), None, 10);
        log.send(&rulesets(), &mut events(4));
        let stats = Arc::clone(log.stats());
        drop(log);
        writer.run();
        assert_eq!(stats.lost.load(Ordering::Relaxed), 4);
        assert_eq!(stats.written.load(Ordering::Relaxed), 0);
        assert_eq!(stats.crowded_out.load(Ordering::Relaxed), 0);
        assert!(
            stats.failure().is_some_and(|text| text.contains("full") || text.contains("space"))
        );
    }

    #[test]
    fn a_worker_that_stops_waits_for_room() {
        let (log, writer) = nowhere();
        let stats = Arc::clone(log.stats());
        let thread = thread::spawn(move || writer.run());
        log.send_at_stop(&rulesets(), events(1000));
        drop(log);
        thread.join().unwrap();
        assert_eq!(stats.written.load(Ordering::Relaxed), 1000);
        assert_eq!(stats.lost.load(Ordering::Relaxed), 0);
    }
}
