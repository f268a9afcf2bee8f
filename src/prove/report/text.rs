//! Texts that fit people: sentences, times, quantities. Knows no report.

use crate::model::{Span, Timestamp};
pub(super) use crate::observe::page::escaped;
use crate::observe::quantity;

/// A sentence of our own: what is in backquotes becomes code.
pub(super) fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    parts.collect()
}

/// A time to the second, `2026-11-21 15:41:37`.
#[must_use]
pub(super) fn moment(time: Timestamp) -> String {
    time.to_string().replace('T', " ").chars().take(19).collect()
}

/// A time to the millisecond, `15:41:37.146`.
#[must_use]
pub(super) fn clock(time: Timestamp) -> String {
    time.to_string().chars().skip(11).take(12).collect()
}

/// A length of time in the largest unit that fits, `3 min 20 s`.
#[must_use]
pub(super) fn length(span: Span) -> String {
    let (secs, millis) = (span.as_secs(), span.as_millis());
    match secs {
        0 => format!("{millis} ms"),
        1..60 => format!("{secs}.{} s", millis % 1000 / 100),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        3_600..172_800 => format!("{} h {} min", secs / 3_600, secs / 60 % 60),
        _ if secs / 3_600 % 24 == 0 => format!("{} days", secs / 86_400),
        _ => format!("{} days {} h", secs / 86_400, secs / 3_600 % 24),
    }
}

/// A number with its thousands apart.
#[must_use]
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Bytes in at most four characters and a unit.
#[must_use]
pub(super) fn bytes(value: u64) -> String {
    format!("{}B", quantity(value))
}

/// `1 flow`, `2 flows`.
#[must_use]
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_packet_is_markup_or_hides() {
        assert_eq!(
            escaped("<script>alert('x')</script>&\"\u{202e}\u{0}\u{1b}é"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\\u{202e}\\u{0}\\u{1b}é"
        );
    }

    #[test]
    fn backquotes_become_code() {
        assert_eq!(prose("the `a<b` x"), "the <code>a&lt;b</code> x");
    }

    #[test]
    fn times_and_numbers_read_well() {
        let time = Timestamp::from_nanos(1_795_275_697_146_727_000);
        assert_eq!(moment(time), "2026-11-21 15:41:37");
        assert_eq!(clock(time), "15:41:37.146");
        for (millis, text) in [
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (190_000_000, "2 days 4 h"),
            (259_200_000, "3 days"),
        ] {
            assert_eq!(length(Span::from_millis(millis)), text);
        }
        assert_eq!(number(1_234_567).replace('\u{202f}', "_"), "1_234_567");
        assert_eq!(number(999), "999");
    }
}
