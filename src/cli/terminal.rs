//! What the terminal is like, and progress on it.

use crate::pipeline::Progress;
use crate::ruleset::Style;
use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Columns of the terminal that results go to; none if they go elsewhere.
pub(super) fn columns() -> Option<u16> {
    let screen = std::io::stdout().is_terminal();
    screen.then(|| Term::stdout().size_checked().map_or(80, |(_, columns)| columns))
}

/// How findings are drawn for the terminal that errors go to, or for a file.
pub(super) fn errors() -> Style {
    if !std::io::stderr().is_terminal() {
        return Style::PLAIN;
    }
    let columns = Term::stderr().size_checked().map(|(_, columns)| usize::from(columns));
    Style { width: columns.unwrap_or(Style::PLAIN.width), colour: true }
}

/// A progress bar over so many bytes; hidden unless errors and notes go to a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(bytes: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} eta {eta}",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec} {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn show(&self, progress: Progress) {
        if !self.0.is_hidden() {
            self.0.set_position(progress.bytes);
            self.0.set_message(format!("{} packets", progress.packets));
        }
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
