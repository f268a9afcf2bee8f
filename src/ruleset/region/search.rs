//! Whether rules cover a box: cut away one rule after the other until a flow is left or nothing is.
//! Exact within its bound; at the bound nothing is proved.

use super::area::{Area, Room};
use super::asks::{Asks, Values};
use super::flow::Flow;

/// Most boxes that one question looks at.
pub const BOXES_LIMIT: usize = 50_000;

/// What is left of boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// This flow, for example.
    Flow(Box<Flow>),
    /// Nothing.
    Nothing,
    /// The bound was met first.
    NotProved,
}

impl Left {
    /// The flow, if one is left.
    #[must_use]
    pub fn flow(self) -> Option<Flow> {
        match self {
            Self::Flow(flow) => Some(*flow),
            Self::Nothing | Self::NotProved => None,
        }
    }
}

/// A flow of the boxes that meets none of the rules.
#[must_use]
pub fn left(areas: impl IntoIterator<Item = Area>, rules: &[&Asks], values: &mut Values) -> Left {
    let mut found = Left::Nothing;
    let _ = walk(areas, rules, values, |area, values| match Flow::of(area, values) {
        Some(flow) => {
            found = Left::Flow(Box::new(flow));
            false
        }
        None => {
            found = Left::NotProved;
            true
        }
    })
    .map_err(|_| {
        if found == Left::Nothing {
            found = Left::NotProved;
        }
    });
    found
}

/// The boxes that are left, at most `limit` of them; `false` says that there are more, or that the
/// bound was met.
#[must_use]
pub fn pieces(
    areas: impl IntoIterator<Item = Area>,
    rules: &[&Asks],
    limit: usize,
    values: &mut Values,
) -> (Vec<Area>, bool) {
    let mut found = Vec::new();
    let mut whole = true;
    let done = walk(areas, rules, values, |area, _| {
        if found.len() < limit {
            found.push(area.clone());
        } else {
            whole = false;
        }
        whole
    });
    (found, whole && done.is_ok())
}

/// The bound was met.
struct AtBound;

fn walk(
    areas: impl IntoIterator<Item = Area>,
    rules: &[&Asks],
    values: &mut Values,
    mut visit: impl FnMut(&Area, &mut Values) -> bool,
) -> Result<(), AtBound> {
    let mut seen = 0usize;
    let mut at_bound = false;
    for area in areas {
        let mut stack = vec![(area, 0usize)];
        while let Some((area, next)) = stack.pop() {
            seen = seen.saturating_add(1);
            if seen > BOXES_LIMIT {
                return Err(AtBound);
            }
            match area.room(values) {
                Room::None => continue,
                Room::Some => {}
                Room::NotProved => at_bound = true,
            }
            let rest = rules.get(next..).unwrap_or_default();
            // Rules that do not meet the box are passed over.
            let mut cut = None;
            for (at, asks) in rest.iter().enumerate() {
                let Some(both) = area.and(asks) else { continue };
                if both.room(values) != Room::None {
                    cut = Some((next.saturating_add(at).saturating_add(1), *asks));
                    break;
                }
            }
            let Some((after, asks)) = cut else {
                if !visit(&area, values) {
                    return Ok(());
                }
                continue;
            };
            let (pieces, not_proved) = area.without(asks, values);
            at_bound |= not_proved;
            stack.extend(pieces.into_iter().map(|piece| (piece, after)));
        }
    }
    if at_bound { Err(AtBound) } else { Ok(()) }
}
