//! Test results as JUnit XML, as CI servers read it: a suite for each test file, a case for each
//! expectation; mutants are a suite of their own.

use super::mutants::Mutation;
use super::text::{failure_text, spot};
use super::{Case, Report};
use crate::observe::Layout;
use crate::ruleset::{Loaded, Refused, Style, TestSuite};
use std::fmt::Write;

/// The suites of one ruleset, to be put between [`HEAD`] and [`TAIL`].
#[must_use]
pub(super) fn junit(
    report: &Report,
    mutation: Option<&Mutation>,
    suite: &TestSuite,
    ruleset: &Loaded,
) -> String {
    let mut out = String::new();
    for file in &report.files {
        let name = suite.sources.name(file.file);
        let failed = file.cases.iter().filter(|case| !case.passed()).count();
        open_suite(&mut out, name, file.cases.len(), failed);
        for case in &file.cases {
            let line = suite.sources.line_column(case.place).line;
            let title = format!("line {line}: {}", label(case));
            let texts: Vec<String> = case
                .failures
                .iter()
                .map(|failure| failure_text(failure, &ruleset.policy, Layout::Unbounded))
                .collect();
            let first = case.failures.first();
            let message =
                first.map(|f| format!("expected {}; happened: {}", f.expected, f.happened));
            write_case(&mut out, name, &title, message.as_deref(), &texts.concat());
        }
        out.push_str("  </testsuite>\n");
    }
    if let Some(mutation) = mutation {
        write_mutants(&mut out, mutation, ruleset);
    }
    out
}

/// The suite of a ruleset that could not be tested.
#[must_use]
pub(super) fn junit_refused(name: &str, refused: &Refused) -> String {
    let mut out = String::new();
    open_suite(&mut out, name, refused.errors.len(), refused.errors.len());
    for error in &refused.errors {
        let text = error.render(&refused.sources, Style::PLAIN);
        write_case(&mut out, name, error.code, Some(&error.message), &text);
    }
    out.push_str("  </testsuite>\n");
    out
}

/// What stands before the suites.
pub(super) const HEAD: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"lockgate\">\n";
/// What stands behind the suites.
pub(super) const TAIL: &str = "</testsuites>\n";

fn label(case: &Case) -> &str {
    case.description.as_deref().unwrap_or(&case.title)
}

fn open_suite(out: &mut String, name: &str, tests: usize, failures: usize) {
    let name = escape(name);
    let _ = writeln!(
        out,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">"
    );
}

fn write_case(out: &mut String, class: &str, name: &str, message: Option<&str>, text: &str) {
    let (class, name) = (escape(class), escape(name));
    let _ = match message {
        None => writeln!(out, "    <testcase classname=\"{class}\" name=\"{name}\"/>"),
        Some(message) => writeln!(
            out,
            "    <testcase classname=\"{class}\" name=\"{name}\">\n      \
             <failure message=\"{}\">{}</failure>\n    </testcase>",
            escape(message),
            escape(text)
        ),
    };
}

fn write_mutants(out: &mut String, mutation: &Mutation, ruleset: &Loaded) {
    let survivors = mutation.survivors.len();
    open_suite(out, "mutants", mutation.mutants, survivors);
    for survivor in &mutation.survivors {
        let place = spot(&ruleset.sources, survivor.mutant.place);
        let name = format!("{place}: {}", survivor.mutant);
        write_case(out, "mutants", &name, Some("no test notices this change"), &name);
    }
    let killed = mutation.mutants.saturating_sub(survivors);
    write_case(out, "mutants", &format!("{killed} changes are noticed"), None, "");
    out.push_str("  </testsuite>\n");
}

/// Text for XML 1.0: markup escaped, characters it cannot hold replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(letter),
            letter if letter < ' ' || letter == '\u{fffe}' || letter == '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_do_not_break_the_document() {
        assert_eq!(escape("a<b> & \"c\"\u{0}\n"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}\n");
    }
}
