//! The nearest known word to a mistyped one.

/// Longer words are not compared; nobody mistypes one that long by a letter.
const WORD_LIMIT: usize = 64;

/// The known word nearest to `word`, if it is near enough to be a slip of the fingers: at most a
/// third of its letters changed, or one word the beginning of the other.
#[must_use]
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_LIMIT || !word.chars().any(char::is_alphabetic) {
        return None;
    }
    let folded = fold(word);
    known
        .into_iter()
        .filter(|k| k.len() <= WORD_LIMIT && *k != word)
        .filter_map(|k| {
            let candidate = fold(k);
            let distance = distance(&folded, &candidate);
            let near = distance.saturating_mul(3) <= folded.len().max(candidate.len())
                || (folded.len() >= 4 && candidate.starts_with(&folded))
                || (candidate.len() >= 4 && folded.starts_with(&candidate));
            near.then_some((distance, k))
        })
        .min()
        .map(|(_, k)| k)
}

/// Letters in lower case; `-` and `_` count as the same.
fn fold(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).map(|c| if c == '_' { '-' } else { c }).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions, swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i.saturating_add(1)];
        for (j, &y) in b.iter().enumerate() {
            let at = |line: &[usize], n: usize| line.get(n).copied().unwrap_or(usize::MAX / 2);
            let mut best = at(&last, j.saturating_add(1)).min(at(&row, j)).saturating_add(1);
            best = best.min(at(&last, j).saturating_add(usize::from(x != y)));
            let swapped = i > 0
                && j > 0
                && a.get(i.saturating_sub(1)) == Some(&y)
                && b.get(j.saturating_sub(1)) == Some(&x);
            if swapped {
                best = best.min(at(&before, j.saturating_sub(1)).saturating_add(1));
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_fingers_find_their_word() {
        let known = ["action", "protocol", "ports", "source_ports", "sources", "domains", "dns"];
        for (slip, word) in [
            ("port", Some("ports")),
            ("protcol", Some("protocol")),
            ("aciton", Some("action")),
            ("source-ports", Some("source_ports")),
            ("Domains", Some("domains")),
            ("dsn", Some("dns")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, known), word, "{slip}");
        }
    }

    #[test]
    fn long_words_are_not_compared() {
        for (len, found) in [(63, true), (64, true), (65, false)] {
            let word = "a".repeat(len);
            let known = "a".repeat(62);
            assert_eq!(nearest(&word, [known.as_str()]).is_some(), found, "{len}");
        }
    }
}
