//! What one engine may use. Bounds that a ruleset sets (how long and how much an undecided flow may
//! wait, idle times) are the policy's and not here.

/// Bounds of one engine (of one worker; the instance's totals divided by their number).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Flows known at once.
    pub flows: usize,
    /// Bytes of frames held for undecided flows, in total.
    pub held_bytes: usize,
    /// Flows under inspection at once; beyond, a flow that needs inspection is refused. The last quarter
    /// is for segments that have less than a quarter.
    pub inspections: usize,
    /// Bytes of one direction of a stream read for the record alone, before reading stops.
    pub unasked_bytes: usize,
    /// Bytes kept of all streams under inspection, to be compared with what comes again, beyond what each
    /// may hold; of one segment as many as are still free. Beyond, a stream that is read for the record
    /// alone is read no further, and another keeps as much as it may hold.
    pub kept_bytes: usize,
    /// Fragmented packets waited for at once, of one segment as many as are still free; their bytes are
    /// held bytes.
    pub fragmented: usize,
    /// Answers (RST, ICMP, DNS REFUSED) a second: half for whoever comes first, half in equal parts for the
    /// segments, one each at least, and for what is no segment's. ICMP errors about flows that are not
    /// known, which are passed on, have as much again, divided alike.
    pub answers_per_second: u32,
    /// Packets that belong to no segment told of in one second, as events; all are counted.
    pub strangers_per_second: u32,
    /// Of these, from one endpoint that keeps sending them; ten times as many at once.
    pub strangers_per_endpoint: u32,
    /// How many engines share what the ruleset reserves for its segments.
    pub engines: u64,
}

impl Limits {
    /// The share of one of `engines` engines, each total rounded up.
    #[must_use]
    pub fn share(&self, engines: usize) -> Self {
        let engines = engines.max(1);
        let of = |total: usize| total.div_ceil(engines);
        let rate = |total: u32| total.div_ceil(u32::try_from(engines).unwrap_or(u32::MAX));
        Self {
            flows: of(self.flows),
            held_bytes: of(self.held_bytes),
            inspections: of(self.inspections),
            kept_bytes: of(self.kept_bytes),
            fragmented: of(self.fragmented),
            answers_per_second: rate(self.answers_per_second),
            strangers_per_second: rate(self.strangers_per_second),
            strangers_per_endpoint: rate(self.strangers_per_endpoint),
            engines: engines as u64,
            ..self.clone()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 1 << 20,
            held_bytes: 64 << 20,
            inspections: 1 << 18,
            unasked_bytes: 64 << 10,
            kept_bytes: 128 << 20,
            fragmented: 4096,
            answers_per_second: 1000,
            strangers_per_second: 500,
            strangers_per_endpoint: 10,
            engines: 1,
        }
    }
}
