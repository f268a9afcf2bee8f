//! What is wrong with a ruleset, where, and what would be right: values, rendered for a terminal or
//! as JSON. The only file that draws source excerpts. Finds no errors itself.

use super::region::Witness;
use super::source::{Place, Sources};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// At most this many errors are kept of one run; the rest is counted.
pub const DIAGNOSTICS_LIMIT: usize = 500;

/// The narrowest and widest terminal that is drawn for.
const WIDTH: std::ops::RangeInclusive<usize> = 60..=240;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The ruleset is refused.
    Error,
    /// The ruleset loads; somebody should look.
    Warning,
}

/// A place with a remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// What is to be seen there.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name of the kind of finding, such as `unknown-field`.
    pub code: &'static str,
    /// What is wrong, in one sentence; starts with the rule or segment it is about.
    pub message: String,
    /// The place it is about; none for a folder without files.
    pub label: Option<Label>,
    /// Other places that belong to it.
    pub related: Vec<Label>,
    /// What would be right.
    pub help: Vec<String>,
    /// A flow that shows it.
    pub witness: Option<Box<Witness>>,
}

impl Diagnostic {
    /// An error.
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            label: None,
            related: Vec::new(),
            help: Vec::new(),
            witness: None,
        }
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, place: Place, text: impl Into<String>) -> Self {
        self.label = Some(Label { place, text: text.into() });
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn also(mut self, place: Place, text: impl Into<String>) -> Self {
        self.related.push(Label { place, text: text.into() });
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Shows it by a flow.
    #[must_use]
    pub fn shown_by(mut self, witness: Option<Witness>) -> Self {
        self.witness = witness.map(Box::new);
        self
    }

    /// The finding with its source excerpts, as a compiler would show it.
    #[must_use]
    pub fn render(&self, sources: &Sources, style: Style) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(self.message.as_str()).id(self.code).elements(
            self.label.iter().flat_map(|label| snippet(sources, label, AnnotationKind::Primary)),
        );
        for label in &self.related {
            group = group.elements(snippet(sources, label, AnnotationKind::Context));
        }
        let group = self.help.iter().fold(group, |g, h| g.element(Level::HELP.message(h.as_str())));
        let witness = self.witness.as_ref().map(|witness| witness.command(sources.root()));
        let group = group.elements(
            witness.as_ref().map(|line| Level::NOTE.with_name("witness").message(line.as_str())),
        );
        let renderer = if style.colour { Renderer::styled() } else { Renderer::plain() };
        renderer
            .decor_style(DecorStyle::Ascii)
            .term_width(style.width.clamp(*WIDTH.start(), *WIDTH.end()))
            .render(&[group])
    }

    /// The finding as one JSON object with file, line and column.
    #[must_use]
    pub fn to_json(&self, sources: &Sources) -> serde_json::Value {
        let spot = |label: &Label| {
            let at = sources.line_column(label.place);
            serde_json::json!({
                "file": sources.name(label.place.file),
                "line": at.line,
                "column": at.column,
                "text": label.text,
            })
        };
        serde_json::json!({
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "place": self.label.as_ref().map(spot),
            "related": self.related.iter().map(spot).collect::<Vec<_>>(),
            "help": self.help,
            "witness": self.witness.as_ref().map(|witness| witness.to_json()),
        })
    }
}

/// How findings are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether colours are wanted.
    pub colour: bool,
}

impl Style {
    /// Without colour, 100 columns: for files and tests.
    pub const PLAIN: Self = Self { width: 100, colour: false };
}

/// The excerpt for one label; an [`Origin`] alone where there is no text to show.
fn snippet<'a>(sources: &'a Sources, label: &'a Label, kind: AnnotationKind) -> Vec<Element<'a>> {
    let name = sources.name(label.place.file);
    match sources.excerpt(label.place) {
        Some((text, line, range)) if !text.is_empty() => {
            let annotation = kind.span(range).label(label.text.as_str());
            vec![Snippet::source(text).path(name).line_start(line).annotation(annotation).into()]
        }
        _ => vec![Origin::path(name).into()],
    }
}

/// Collects findings, bounded by [`DIAGNOSTICS_LIMIT`].
#[derive(Clone, Debug, Default)]
pub struct Findings {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    dropped: usize,
}

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Diagnostic) {
        let list = match finding.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if list.len() < DIAGNOSTICS_LIMIT {
            list.push(finding);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Whether there is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Errors and warnings, each in the order of their places; equal findings once.
    #[must_use]
    pub fn finish(mut self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        for list in [&mut self.errors, &mut self.warnings] {
            list.sort_by_key(|d| d.label.as_ref().map(|l| (l.place.file, l.place.start)));
            list.dedup();
        }
        if self.dropped > 0 {
            let text = format!("{} more findings are not shown", self.dropped);
            let list = if self.errors.is_empty() { &mut self.warnings } else { &mut self.errors };
            list.push(Diagnostic {
                severity: list.first().map_or(Severity::Error, |d| d.severity),
                ..Diagnostic::error("limit-findings", text)
            });
        }
        (self.errors, self.warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_places_in_two_files_are_both_shown() {
        let mut sources = Sources::default();
        let one = sources.add("a.yaml", "segments:\n  acme: {}\n");
        let two = sources.add("b.yaml", "acme: {}\n");
        let finding = Diagnostic::error("duplicate-name", "segment `acme` is defined twice")
            .at(Place { file: two, start: 0, end: 4 }, "again here")
            .also(Place { file: one, start: 12, end: 16 }, "first here")
            .help("rename one");
        let text = finding.render(&sources, Style::PLAIN);
        for part in [
            "error[duplicate-name]",
            "b.yaml:1:1",
            "a.yaml:2:3",
            "again here",
            "first here",
            "rename one",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json = finding.to_json(&sources);
        assert_eq!(json["related"][0]["line"], 2);
    }

    #[test]
    fn findings_are_bounded_and_sorted() {
        for (count, shown) in [(499, 499), (500, 500), (501, 501), (9000, 501)] {
            let mut findings = Findings::default();
            for n in (0..count).rev() {
                findings.push(
                    Diagnostic::error("x", format!("{n}"))
                        .at(Place { start: n, ..Place::default() }, ""),
                );
            }
            let (errors, _) = findings.finish();
            assert_eq!(errors.len(), shown);
        }
    }
}
