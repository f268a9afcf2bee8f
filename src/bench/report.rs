//! Figures made readable: text for a terminal, JSON for programs, one HTML page with plots.

mod html;
mod plot;
#[cfg(test)]
mod tests;
mod text;

pub use html::page;
pub use text::text;

use super::figures::Figures;

/// One JSON object with every figure.
#[must_use]
pub fn json(figures: &Figures) -> String {
    serde_json::to_string_pretty(figures).unwrap_or_default()
}
