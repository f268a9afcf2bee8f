//! Name sets against the table of the rule language and a naive twin.

use super::*;
use proptest::prelude::*;

fn set(patterns: &[&str]) -> NameSet {
    NameSet::build(patterns.iter().map(|p| NamePattern::parse(p).unwrap())).unwrap()
}

/// `name  yes|no` for one set.
fn table(patterns: &[&str], rows: &str) {
    let set = set(patterns);
    for row in rows.split(';').map(str::trim).filter(|row| !row.is_empty()) {
        let (name, expected) = row.split_once(char::is_whitespace).unwrap();
        let found = set.contains_bytes(name.as_bytes());
        assert_eq!(found, expected.trim() == "yes", "{patterns:?} {name}");
    }
}

#[test]
fn what_is_asked_for_ahead_changes_no_answer_whatever_the_name() {
    let set = set(&[".example", ".b.example", ".c.b.example", ".d.c.b.example", "e.d.c.b.example"]);
    for labels in [0, 1, 2, NEAR_MAX as usize - 1, NEAR_MAX as usize, NEAR_MAX as usize + 1, 127] {
        let name = DomainName::from_labels(vec![&b"x"[..]; labels]).unwrap();
        set.prefetch(&name);
        assert!(!set.contains(&name), "{labels}");
    }
    let name = DomainName::from_host(b"e.d.c.b.example").unwrap();
    set.prefetch(&name);
    assert!(set.contains(&name));
}

#[test]
fn sets_match_as_the_table_of_the_rule_language_says() {
    table(&["api.example.com"], "api.example.com yes; example.com no; x.api.example.com no");
    table(&[".example.com"], "example.com yes; a.example.com yes; a.b.example.com yes; com no");
    table(&[".example.com"], "badexample.com no; example.com.evil no");
    table(&["*.example.com"], "example.com no; a.example.com yes; a.b.example.com yes");
    table(&["*payments*"], "payments yes; x.payments.y yes; payment.s no");
    table(
        &["api-*.example.com"],
        "api-1.example.com yes; api-1.x.example.com yes; api.example.com no",
    );
    table(&["*"], "a yes; a.b.c yes");
    table(&[], "a no; a.b no");
    table(&["a.com", ".b.com", "*.c.com", "d*.com"], "a.com yes; x.a.com no; b.com yes");
    table(&["a.com", ".b.com", "*.c.com", "d*.com"], "c.com no; x.c.com yes; dd.com yes; e.com no");
}

#[test]
fn a_name_written_in_several_ways_is_their_union() {
    let both = set(&["a.example", "*.a.example"]);
    assert!(both.contains_bytes(b"a.example") && both.contains_bytes(b"x.a.example"));
    assert_eq!(both.iter().collect::<Vec<_>>(), [NamePattern::parse(".a.example").unwrap()]);
}

#[test]
fn any_takes_the_dns_root_and_a_suffix_does_not() {
    assert!(set(&["*"]).contains(&DomainName::empty()));
    assert!(!set(&[".com", "*a*"]).contains(&DomainName::empty()));
}

#[test]
fn a_name_of_many_labels_is_found() {
    let deep = format!("{}z", "a.".repeat(100));
    assert!(set(&[&deep]).contains_bytes(deep.as_bytes()));
    assert!(set(&[&format!(".{deep}")]).contains_bytes(format!("b.{deep}").as_bytes()));
    assert!(set(&[".z"]).contains_bytes(deep.as_bytes()));
}

#[test]
fn a_name_of_more_labels_than_any_listed_is_found_by_those_above() {
    let deep = |labels: usize| format!("{}z", "a.".repeat(labels - 1));
    for listed in [1, 2, 61, 62, 63, 64, 65, 100, 126] {
        let exact = set(&[&deep(listed)]);
        let below = set(&[&format!("*.{}", deep(listed))]);
        for asked in 1..=127 {
            assert_eq!(
                exact.contains_bytes(deep(asked).as_bytes()),
                asked == listed,
                "{listed} {asked}"
            );
            assert_eq!(
                below.contains_bytes(deep(asked).as_bytes()),
                asked > listed,
                "{listed} {asked}"
            );
        }
    }
}

#[test]
fn a_leading_dot_is_below_nothing() {
    table(&["*.a"], ".a no; b.a yes; .b.a yes");
}

#[test]
fn dns_bytes_compare_as_bytes() {
    let name = DomainName::from_labels([&b"a\xff\0"[..], b"EXAMPLE", b"com"]).unwrap();
    assert!(set(&[".example.com"]).contains(&name));
    assert!(set(&["a*.com"]).contains(&name));
    assert!(!set(&["a.example.com"]).contains(&name));
}

#[test]
fn patterns_end_at_their_limit() {
    let glob = |i: usize| NamePattern::Glob(format!("*p{}*", i % 9).into());
    for (count, fits) in [(GLOBS_LIMIT - 1, true), (GLOBS_LIMIT, true), (GLOBS_LIMIT + 1, false)] {
        assert_eq!(NameSet::build((0..count).map(glob)).is_ok(), fits, "{count}");
    }
}

#[test]
fn a_large_set_takes_forty_bytes_a_name() {
    let count = 100_000;
    let names = (0..count).map(|i| NamePattern::Suffix(format!("host-{i:07}.exmpl.io").into()));
    let set = NameSet::build(names).unwrap();
    assert!(set.memory_bytes() <= 40 * count, "{}", set.memory_bytes() / count);
    assert!(set.contains_bytes(b"x.host-0099999.exmpl.io"));
    assert!(!set.contains_bytes(b"x.host-0100000.exmpl.io"));
}

fn label() -> impl Strategy<Value = String> {
    "[ab]{1,2}"
}

fn pattern() -> impl Strategy<Value = NamePattern> {
    prop_oneof![
        (prop::collection::vec(label(), 1..4), "(|\\.|\\*\\.)")
            .prop_map(|(labels, lead)| format!("{lead}{}", labels.join("."))),
        "[ab*]{1,3}(\\.[ab*]{1,2}){0,2}",
    ]
    .prop_filter_map("no pattern", |text| NamePattern::parse(&text).ok())
}

proptest! {
    #[test]
    fn dots_are_found_wherever_they_are(
        name in prop::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), Just(b'-'), Just(0xae), any::<u8>()], 0..80),
    ) {
        let naive: Vec<usize> = (0..name.len()).rev().filter(|&at| name[at] == b'.').collect();
        prop_assert_eq!(Dots::of(&name).collect::<Vec<_>>(), naive);
    }

    #[test]
    fn a_set_is_the_union_of_its_patterns(
        patterns in prop::collection::vec(pattern(), 0..12),
        names in prop::collection::vec("[ab]{1,3}(\\.[ab]{1,2}){0,4}", 1..20),
    ) {
        let set = NameSet::build(patterns.clone()).unwrap();
        let again = NameSet::build(set.iter()).unwrap();
        for name in names {
            let naive = patterns.iter().any(|p| p.matches(name.as_bytes()));
            prop_assert_eq!(set.contains_bytes(name.as_bytes()), naive, "{} {:?}", name, patterns);
            prop_assert_eq!(again.contains_bytes(name.as_bytes()), naive);
        }
    }
}
