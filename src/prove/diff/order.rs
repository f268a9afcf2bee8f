//! Which rules of two lists are the same in the same order. What is the same needs no look: a flow
//! that the same rule decides before and after has the same verdict.

use crate::model::Action;
use crate::ruleset::region::Asks;

/// Most comparisons of one pair of policies; beyond that all rules in the middle count as changed.
const COMPARISONS_LIMIT: usize = 4_000_000;

/// A rule as it is compared.
pub(super) type Rule<'a> = (&'a Asks, Action);

/// For each entry of both lists whether it is in a longest common subsequence.
pub(super) fn common<T: PartialEq>(old: &[T], new: &[T]) -> (Vec<bool>, Vec<bool>) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()).saturating_sub(head);
    let tail =
        old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let mut before = vec![false; old.len()];
    let mut after = vec![false; new.len()];
    for list in [&mut before, &mut after] {
        let len = list.len();
        list.iter_mut()
            .enumerate()
            .filter(|(at, _)| *at < head || *at >= len.saturating_sub(tail))
            .for_each(|(_, same)| *same = true);
    }
    let middle = |list: &[bool]| head..list.len().saturating_sub(tail);
    let (rows, columns) = (middle(&before), middle(&after));
    let width = columns.len().saturating_add(1);
    if rows.len().saturating_mul(columns.len()) > COMPARISONS_LIMIT
        || rows.is_empty()
        || columns.is_empty()
    {
        return (before, after);
    }
    // The length of the longest common subsequence from each pair of positions on.
    let cells = rows.len().saturating_add(1).saturating_mul(width);
    let mut longest = vec![0u32; cells];
    let (old, new) = (old.get(rows).unwrap_or_default(), new.get(columns).unwrap_or_default());
    let cell = |row: usize, column: usize| row.saturating_mul(width).saturating_add(column);
    let at = |longest: &[u32], row, column| longest.get(cell(row, column)).copied().unwrap_or(0);
    for (row, a) in old.iter().enumerate().rev() {
        for (column, b) in new.iter().enumerate().rev() {
            let best = if a == b {
                at(&longest, row + 1, column + 1).saturating_add(1)
            } else {
                at(&longest, row + 1, column).max(at(&longest, row, column + 1))
            };
            if let Some(slot) = longest.get_mut(cell(row, column)) {
                *slot = best;
            }
        }
    }
    let (mut row, mut column) = (0, 0);
    while let (Some(a), Some(b)) = (old.get(row), new.get(column)) {
        if a == b {
            for (list, at) in [(&mut before, row), (&mut after, column)] {
                if let Some(same) = list.get_mut(head.saturating_add(at)) {
                    *same = true;
                }
            }
            (row, column) = (row + 1, column + 1);
        } else if at(&longest, row + 1, column) >= at(&longest, row, column + 1) {
            row += 1;
        } else {
            column += 1;
        }
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::region::{Dimension, Ranges};

    fn kept(old: &str, new: &str) -> (String, String) {
        let asks: Vec<Asks> = (0..26)
            .map(|n| {
                let mut asks = Asks::default();
                asks.set(Dimension::Port, Some(Ranges::one(n)));
                asks
            })
            .collect();
        let rules = |text: &str| -> Vec<Rule<'_>> {
            text.bytes().map(|b| (&asks[usize::from(b - b'a')], Action::Allow)).collect()
        };
        let (before, after) = common(&rules(old), &rules(new));
        let show = |text: &str, same: &[bool]| {
            text.chars().zip(same).map(|(c, same)| if *same { c } else { '-' }).collect()
        };
        (show(old, &before), show(new, &after))
    }

    #[test]
    fn rules_in_the_same_order_are_kept() {
        for (old, new, before, after) in [
            ("", "", "", ""),
            ("abc", "abc", "abc", "abc"),
            ("abc", "ac", "a-c", "ac"),
            ("ac", "abc", "ac", "a-c"),
            ("abcd", "acbd", "a-cd", "ac-d"),
            ("ab", "cd", "--", "--"),
            ("aab", "ab", "a-b", "ab"),
        ] {
            assert_eq!(kept(old, new), (before.to_owned(), after.to_owned()), "{old} {new}");
        }
    }
}
