//! Takes what a run gives and writes it where the user wants it: a line for each flow, captures of
//! what was forwarded and of what was dropped. It knows no command line and no screen.

use super::{CSV_HEADER, Layout, Names, Summary, csv_line, flow_json, text_lines};
use crate::engine::record::{Event, FlowRecord};
use crate::io::pcap::{CaptureWriter, WriteError};
use crate::model::Action;
use crate::pipeline::{Fate, Settled, Sink};
use std::fmt;
use std::io::{self, Write};

/// Records sorted at a time. A run with more flows is written in several sorted pieces.
pub const RECORDS_MAX: usize = 1 << 20;

/// How flows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Text(Layout),
    /// JSON lines.
    Json,
    /// RFC 4180.
    Csv,
    /// Not at all.
    Silent,
}

/// Which flows are written: those with one of these verdicts; pending is none.
pub type Only = Vec<Option<Action>>;

/// A stream that can be handed to another thread.
pub type Out<'o> = Box<dyn Write + Send + 'o>;

/// Where a run's results go.
pub struct Recorder<'o, N> {
    names: &'o N,
    style: Style,
    only: Option<Only>,
    lines: Out<'o>,
    forwarded: Option<CaptureWriter<Out<'o>>>,
    dropped: Option<CaptureWriter<Out<'o>>>,
    records: Vec<FlowRecord>,
    summary: Summary,
    started: bool,
}

/// What could not be written.
#[derive(Debug)]
pub enum RecorderError {
    /// Lines of flows.
    Lines(io::Error),
    /// The capture of forwarded frames.
    Forwarded(WriteError),
    /// The capture of dropped frames.
    Dropped(WriteError),
}

impl RecorderError {
    /// Whether nobody reads the lines any more (`| head`), which is no fault.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Lines(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for RecorderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines(error) => write!(f, "flows cannot be written: {error}"),
            Self::Forwarded(error) => write!(f, "forwarded frames cannot be written: {error}"),
            Self::Dropped(error) => write!(f, "dropped frames cannot be written: {error}"),
        }
    }
}

impl std::error::Error for RecorderError {}

impl<'o, N: Names> Recorder<'o, N> {
    /// Writes lines of every flow to `lines`.
    pub fn new(names: &'o N, style: Style, lines: Out<'o>) -> Self {
        Self {
            names,
            style,
            only: None,
            lines,
            forwarded: None,
            dropped: None,
            records: Vec::new(),
            summary: Summary::default(),
            started: false,
        }
    }

    /// Writes only flows of these verdicts; the summary counts all.
    #[must_use]
    pub fn only(mut self, verdicts: Option<Only>) -> Self {
        self.only = verdicts;
        self
    }

    /// Writes forwarded frames, and the answers among them.
    #[must_use]
    pub fn forwarded(mut self, writer: Option<CaptureWriter<Out<'o>>>) -> Self {
        self.forwarded = writer;
        self
    }

    /// Writes dropped frames.
    #[must_use]
    pub fn dropped(mut self, writer: Option<CaptureWriter<Out<'o>>>) -> Self {
        self.dropped = writer;
        self
    }

    /// Writes what is left; gives the sums, and the stream for what else is to be written.
    ///
    /// # Errors
    /// If something cannot be written.
    pub fn finish(mut self) -> Result<(Summary, Out<'o>), RecorderError> {
        self.write_records().map_err(RecorderError::Lines)?;
        self.lines.flush().map_err(RecorderError::Lines)?;
        if let Some(writer) = self.forwarded {
            writer.finish().map_err(RecorderError::Forwarded)?;
        }
        if let Some(writer) = self.dropped {
            writer.finish().map_err(RecorderError::Dropped)?;
        }
        Ok((self.summary, self.lines))
    }

    fn keep(&mut self, record: FlowRecord) -> io::Result<()> {
        self.summary.add(&record, self.names);
        let verdict = record.verdict.map(|verdict| verdict.action);
        if self.style == Style::Silent
            || self.only.as_ref().is_some_and(|only| !only.contains(&verdict))
        {
            return Ok(());
        }
        self.records.push(record);
        if self.records.len() >= RECORDS_MAX { self.write_records() } else { Ok(()) }
    }

    /// Sorted by time, then five-tuple, then scope: an order that no thread has a say in.
    fn write_records(&mut self) -> io::Result<()> {
        let mut records = std::mem::take(&mut self.records);
        records.sort_by_key(|record| (record.start, record.tuple, record.scope, record.end));
        let first = !std::mem::replace(&mut self.started, true);
        match self.style {
            Style::Silent => {}
            Style::Text(layout) => {
                // Columns are aligned over so many lines, so that the text of all never is in memory.
                const ALIGNED: usize = 4096;
                for piece in records.chunks(ALIGNED) {
                    self.lines.write_all(text_lines(piece, self.names, layout).as_bytes())?;
                }
            }
            Style::Json => {
                for record in &records {
                    writeln!(self.lines, "{}", flow_json(record, self.names))?;
                }
            }
            Style::Csv => {
                if first {
                    self.lines.write_all(CSV_HEADER.as_bytes())?;
                }
                for record in &records {
                    self.lines.write_all(csv_line(record, self.names).as_bytes())?;
                }
            }
        }
        Ok(())
    }
}

impl<N: Names + Sync> Sink for Recorder<'_, N> {
    type Error = RecorderError;

    fn wants_frames(&self) -> bool {
        self.forwarded.is_some() || self.dropped.is_some()
    }

    fn frame(&mut self, frame: Settled<'_>) -> Result<(), RecorderError> {
        let (writer, error): (_, fn(WriteError) -> RecorderError) = match frame.fate {
            Fate::Forwarded | Fate::Answer => (&mut self.forwarded, RecorderError::Forwarded),
            Fate::Dropped(_) | Fate::Held => (&mut self.dropped, RecorderError::Dropped),
        };
        match writer {
            Some(writer) => writer.write(&frame.packet).map_err(error),
            None => Ok(()),
        }
    }

    fn event(&mut self, event: Event) -> Result<(), RecorderError> {
        match event {
            Event::FlowEnd(record) => self.keep(record).map_err(RecorderError::Lines),
            Event::PacketDropped(packet) => {
                self.summary.add_stranger(&packet);
                Ok(())
            }
            Event::FlowStart(_) | Event::MessageDenied(_) => Ok(()),
        }
    }
}
