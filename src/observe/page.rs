//! The frame of every HTML page: head, style, foot, and texts that are safe in it. One file without
//! scripts, and nothing is fetched: a policy in its head forbids both, so that a name from a packet can
//! never become either. What a page is about is not known here.

use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// A page up to the beginning of its body.
#[must_use]
pub fn begin(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"generator\" content=\"lockgate {}\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        env!("CARGO_PKG_VERSION"),
        escaped(title)
    )
}

/// Ends a page; `note` is a sentence of its foot, or empty.
pub fn end(out: &mut String, note: &str) {
    let space = if note.is_empty() { "" } else { " " };
    let _ = write!(
        out,
        "<footer>Made by lockgate {}. {}{space}This page fetches nothing and runs no script.</footer>\n\
         </body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        escaped(note)
    );
}

/// A text as HTML, in elements and in quoted attributes. What does not print, or changes the
/// direction of what does (Unicode's bidirectional controls), is written as `\u{hex}`.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ if misleads(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// Whether a character is not seen, or makes others seen elsewhere.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}
