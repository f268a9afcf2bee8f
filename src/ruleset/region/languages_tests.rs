//! Sets of names against a walk over all short names.

use super::*;
use proptest::prelude::*;

fn set(texts: &[&str]) -> Arc<NameSet> {
    Arc::new(NameSet::build(texts.iter().map(|t| NamePattern::parse(t).unwrap())).unwrap())
}

fn word(wanted: &[&[&str]], unwanted: &[&[&str]]) -> Word {
    let mut languages = Languages::default();
    let sets: Vec<Arc<NameSet>> = wanted.iter().chain(unwanted).map(|list| set(list)).collect();
    let ids: Vec<SetId> = sets.iter().map(|set| languages.names(set)).collect();
    let (wanted, unwanted) = ids.split_at(wanted.len());
    languages.word(Alphabet::Host, wanted, unwanted)
}

#[test]
fn names_are_found_where_sets_leave_room() {
    for (wanted, unwanted, found) in [
        (&[][..], &[][..], Some("www.example")),
        (&[], &[&["*"][..]], None),
        (&[&[".a.example"][..]], &[], Some("www.a.example")),
        (&[&[".a.example"]], &[&["a.example"]], Some("www.a.example")),
        (&[&[".a.example"]], &[&["a.example"], &["*.a.example"]], None),
        (&[&[".a.example"]], &[&[".example"]], None),
        (&[&[".example"], &["x.a.example"]], &[], Some("x.a.example")),
        (&[&[".a.example"], &[".b.example"]], &[], None),
        (&[&["*.a.example"], &["*b*"]], &[], Some("b.a.example")),
        (&[&["*.a.example"], &["*b*"]], &[&["*b.a.example"]], Some("bc.a.example")),
        (&[&["api-*.a.example"]], &[&["*.a.example"]], None),
        (&[&["*"]], &[&[".com", "*x*"]], Some("www.any-other.test")),
    ] {
        let said = word(wanted, unwanted);
        match found {
            None => assert_eq!(said, Word::Nowhere, "{wanted:?} {unwanted:?}"),
            Some(expected) => {
                let Word::Found(name) = said else { panic!("{wanted:?} {unwanted:?}: {said:?}") };
                assert_eq!(name, expected, "{wanted:?} {unwanted:?}");
            }
        }
    }
}

#[test]
fn large_sets_are_asked_by_their_index() {
    let names: Vec<String> = (0..5000).map(|n| format!("host-{n}.big.example")).collect();
    let big: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(word(&[&["*.other.example"], &big], &[]), Word::Nowhere);
    assert_eq!(word(&[&["*.big.example"], &big], &[]), Word::Found("host-0.big.example".into()));
    assert_eq!(word(&[&["*.big.example"], &big], &[&["*host*"]]), Word::Nowhere);
    assert_eq!(word(&[&big], &[&[".big.example"]]), Word::Nowhere);
}

#[test]
fn combinations_end_at_their_limit() {
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("a{n}*b")).collect() };
    for (count, proved) in [(63, true), (64, true), (65, false)] {
        let (one, two) = (many(count), many(64));
        let ones: Vec<&str> = one.iter().map(String::as_str).collect();
        let twos: Vec<&str> = two.iter().map(String::as_str).collect();
        let said = word(&[&ones, &twos], &[&["a*"]]);
        // Every search is over at once: the limit of combinations is what is seen.
        assert_eq!(said, if proved { Word::Nowhere } else { Word::NotProved }, "{count}");
    }
}

#[test]
fn marks_tell_different_names_apart_and_no_name_from_what_holds_it() {
    let mark = |entries: &[&str]| Mark::of(&set(entries));
    // How many of 9900 pairs of different sets seem to meet.
    let met = |entry: &dyn Fn(u32) -> String| {
        let marks: Vec<Mark> = (0..100).map(|n| mark(&[&entry(n)])).collect();
        let pairs = marks.iter().flat_map(|a| marks.iter().map(|b| a.meets(*b)));
        pairs.filter(|meets| *meets).count() - 100
    };
    let (names, zones) = (met(&|n| format!("h{n}.example.com")), met(&|n| format!(".d{n}.com")));
    assert!(names < 200 && zones < 400, "{names} {zones}");
    for holder in ["h7.example.com", ".example.com", "*.example.com", ".com", "*", "h*"] {
        assert!(mark(&[holder]).meets(mark(&["h7.example.com"])), "{holder}");
    }
}

fn entry() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a", "b", ".a", "*.a", "a.b", ".a.b", ".b.a", "*.b", "a*", "*b", "*a*", "a*.b", "*",
        "b.a.b", "*.*.b",
    ])
}

fn entries() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(entry(), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_name_is_missed_and_none_is_made_up(
        wanted in prop::collection::vec(entries(), 0..3),
        unwanted in prop::collection::vec(entries(), 0..3),
    ) {
        let sets = |lists: &[Vec<&'static str>]| lists.iter().map(|l| set(l)).collect::<Vec<_>>();
        let (wants, not) = (sets(&wanted), sets(&unwanted));
        let fits = |w: &str| {
            wants.iter().all(|s| s.contains_bytes(w.as_bytes()))
                && !not.iter().any(|s| s.contains_bytes(w.as_bytes()))
        };
        let slices = |lists: &'_ [Vec<&'static str>]| lists.to_vec();
        let (w, u) = (slices(&wanted), slices(&unwanted));
        let w: Vec<&[&str]> = w.iter().map(Vec::as_slice).collect();
        let u: Vec<&[&str]> = u.iter().map(Vec::as_slice).collect();
        let mut words = vec![String::new()];
        let mut all = Vec::new();
        for _ in 0..5 {
            words = words.iter().flat_map(|w| ["a", "b", "c", "."].map(|c| format!("{w}{c}"))).collect();
            all.extend(words.iter().filter(|w| Alphabet::Host.admits(w)).cloned());
        }
        if let [one, other] = wants.as_slice()
            && !Mark::of(one).meets(Mark::of(other))
        {
            prop_assert!(!matches!(word(&w, &[]), Word::Found(_)), "{:?}", wanted);
        }
        match word(&w, &u) {
            Word::Found(name) => prop_assert!(fits(&name), "{}", name),
            Word::Nowhere => prop_assert!(!all.iter().any(|w| fits(w))),
            Word::NotProved => prop_assert!(false, "not proved: {:?} {:?}", wanted, unwanted),
        }
    }
}
