//! The texts a ruleset was read from, and places in them. Knows nothing of YAML and reads no file.

use std::ops::Range;

/// Which text of a [`Sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A piece of one text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The text.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A value and where it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

/// One text with its name.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path below the ruleset folder, as people read it.
    pub name: String,
    /// The text, without a byte order mark.
    pub text: String,
    /// Where each line starts.
    lines: Vec<u32>,
}

/// Line and column, both counted from one; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineColumn {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// All texts of a ruleset.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    root: String,
    all: Vec<Source>,
}

impl Sources {
    /// Says from where the texts were read.
    pub(super) fn set_root(&mut self, root: &std::path::Path) {
        self.root = root.display().to_string();
    }

    /// The folder or file they were read from, as it was named; empty for texts in memory.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Adds a text; a byte order mark is dropped.
    pub fn add(&mut self, name: impl Into<String>, text: &str) -> FileId {
        let id = FileId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let starts = ends.filter_map(|(at, _)| u32::try_from(at).ok()?.checked_add(1));
        let lines = std::iter::once(0).chain(starts).collect();
        self.all.push(Source { name: name.into(), text, lines });
        id
    }

    /// The text of an id.
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&Source> {
        self.all.get(usize::try_from(id.0).ok()?)
    }

    /// The name of a text; empty if there is none.
    #[must_use]
    pub fn name(&self, id: FileId) -> &str {
        self.get(id).map_or("", |s| s.name.as_str())
    }

    /// The name of every text; of one that was read from a file, its path.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|source| source.name.as_str())
    }

    /// How many texts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The written text of a place.
    #[must_use]
    pub fn slice(&self, place: Place) -> &str {
        let range = usize::try_from(place.start).ok().zip(usize::try_from(place.end).ok());
        range
            .and_then(|(start, end)| self.get(place.file)?.text.get(start..end))
            .unwrap_or_default()
    }

    /// Line and column of the start of a place.
    #[must_use]
    pub fn line_column(&self, place: Place) -> LineColumn {
        let Some(source) = self.get(place.file) else { return LineColumn { line: 1, column: 1 } };
        let start = floor_boundary(&source.text, place.start as usize);
        let line = source.lines.partition_point(|&at| at as usize <= start);
        let line_start = source.lines.get(line.saturating_sub(1)).map_or(0, |&at| at as usize);
        let column = source.text.get(line_start..start).unwrap_or_default().chars().count();
        LineColumn { line: line.max(1), column: column.saturating_add(1) }
    }

    /// The lines around a place, to be shown: their text, the number of the first one, and the
    /// place within that text.
    #[must_use]
    pub fn excerpt(&self, place: Place) -> Option<(&str, usize, Range<usize>)> {
        let text = self.get(place.file)?.text.as_str();
        let start = floor_boundary(text, place.start as usize);
        let end = floor_boundary(text, (place.end as usize).max(start)).max(start);
        let from = text.get(..start)?.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let to = text.get(end..)?.find('\n').map_or(text.len(), |at| end.saturating_add(at));
        let line = self.line_column(place).line;
        let shown = text.get(from..to)?;
        Some((shown, line, start.saturating_sub(from)..end.saturating_sub(from)))
    }
}

/// The nearest character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while at > 0 && !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    at
}

/// The byte at which a line and column (from one, in characters) start; the end of the text if
/// there is no such line.
#[must_use]
pub(crate) fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let mut at = 0usize;
    for _ in 1..line {
        match text.get(at..).and_then(|rest| rest.find('\n')) {
            Some(newline) => at = at.saturating_add(newline).saturating_add(1),
            None => return text.len(),
        }
    }
    let rest = text.get(at..).unwrap_or_default();
    let skip: usize = rest
        .chars()
        .take(column.saturating_sub(1))
        .take_while(|&c| c != '\n')
        .map(char::len_utf8)
        .sum();
    at.saturating_add(skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_line_and_column() {
        let mut sources = Sources::default();
        let file = sources.add("a.yaml", "\u{feff}one\nzwölf: x\n");
        let place = Place { file, start: 12, end: 13 };
        assert_eq!(sources.slice(place), "x");
        assert_eq!(sources.line_column(place), LineColumn { line: 2, column: 8 });
        assert_eq!(sources.excerpt(place), Some(("zwölf: x", 2, 8..9)));
        assert_eq!(byte_of("one\nzwölf: x\n", 2, 8), 12);
    }

    #[test]
    fn places_outside_the_text_are_harmless() {
        let mut sources = Sources::default();
        let file = sources.add("a.yaml", "ä");
        for (start, end) in [(0, 99), (1, 1), (1, 2), (9, 3), (u32::MAX, 0)] {
            let place = Place { file, start, end };
            let _ = (sources.slice(place), sources.line_column(place), sources.excerpt(place));
        }
        assert_eq!(sources.excerpt(Place { file: FileId(7), ..Place::default() }), None);
        assert_eq!(byte_of("a", 9, 9), 1);
    }
}
