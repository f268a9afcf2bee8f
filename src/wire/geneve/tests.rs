//! GENEVE options one by one: order, repetition, length, the critical bit.

use super::*;

const ENDPOINT_OPTION: [u8; 12] = [0x01, 0x08, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7];
const ATTACHMENT_OPTION: [u8; 12] = [0x01, 0x08, 2, 2, 0, 0, 0, 0, 0, 0, 0, 8];
const COOKIE_OPTION: [u8; 8] = [0x01, 0x08, 3, 1, 0, 0, 0, 9];
const KNOWN: Gwlb =
    Gwlb { endpoint: EndpointId(7), attachment: AttachmentId(8), cookie: FlowCookie(9) };

fn three() -> [&'static [u8]; 3] {
    [&ENDPOINT_OPTION, &ATTACHMENT_OPTION, &COOKIE_OPTION]
}

fn option(class: u16, kind: u8, words: u8) -> Vec<u8> {
    let mut option = class.to_be_bytes().to_vec();
    option.extend([kind, words]);
    option.extend(vec![0xaa; usize::from(words) * 4]);
    option
}

#[test]
fn any_order_is_accepted() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let options: Vec<u8> = order.iter().flat_map(|i| three()[*i]).copied().collect();
        assert_eq!(gwlb(&options), Ok(KNOWN), "{order:?}");
    }
}

#[test]
fn the_usual_form_is_read_as_the_walk_reads_it() {
    let options = three().concat();
    assert_eq!(usual(&options), Some(KNOWN));
    assert_eq!(walk(&options), Ok(KNOWN));
    for at in 0..options.len() {
        for bit in 0..8 {
            let mut options = options.clone();
            options[at] ^= 1 << bit;
            if let Some(fast) = usual(&options) {
                assert_eq!(walk(&options), Ok(fast), "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn reserved_bits_of_an_option_are_ignored() {
    let mut options = three().concat();
    for at in [3, 15, 27] {
        options[at] |= 0xe0;
    }
    assert_eq!(usual(&options), Some(KNOWN));
    assert_eq!(walk(&options), Ok(KNOWN));
}

#[test]
fn unknown_options_are_accepted_anywhere_unless_critical() {
    for (class, kind) in [(0x0108, 4), (0x0108, 0), (0x0108, 0x7f), (0x0101, 1), (0xffff, 0x7f)] {
        for words in [0, 1, 31] {
            for place in 0..=3 {
                let mut options: Vec<Vec<u8>> = three().iter().map(|o| o.to_vec()).collect();
                options.insert(place, option(class, kind, words));
                assert_eq!(gwlb(&options.concat()), Ok(KNOWN));
                options[place][2] |= 0x80;
                assert_eq!(gwlb(&options.concat()), Err(Reason::GeneveCriticalOption));
            }
        }
    }
}

#[test]
fn a_known_type_with_the_critical_bit_is_another_type() {
    for at in [2, 14, 26] {
        let mut options = three().concat();
        options[at] |= 0x80;
        assert_eq!(gwlb(&options), Err(Reason::GeneveCriticalOption));
    }
}

#[test]
fn each_option_must_be_there() {
    for missing in 0..3 {
        let mut options = three().to_vec();
        options.remove(missing);
        assert_eq!(gwlb(&options.concat()), Err(Reason::GeneveOptionMissing));
    }
    assert_eq!(gwlb(&[]), Err(Reason::GeneveOptionMissing));
}

#[test]
fn no_option_may_be_there_twice() {
    for twice in 0..3 {
        let mut options = three().to_vec();
        options.push(three()[twice]);
        assert_eq!(gwlb(&options.concat()), Err(Reason::GeneveOptionRepeated));
    }
}

#[test]
fn no_option_may_have_another_length() {
    for (place, kind, right) in [(0, 1, 2), (1, 2, 2), (2, 3, 1)] {
        for words in (0..=31).filter(|words| *words != right) {
            let mut options: Vec<Vec<u8>> = three().iter().map(|o| o.to_vec()).collect();
            options[place] = option(GWLB_OPTION_CLASS, kind, words);
            assert_eq!(gwlb(&options.concat()), Err(Reason::GeneveOptionSize));
        }
    }
}

#[test]
fn option_lengths_must_add_up() {
    let options = three().concat();
    for len in (4..options.len()).step_by(4).filter(|len| ![12, 24].contains(len)) {
        assert_eq!(gwlb(&options[..len]), Err(Reason::GeneveOptionLength), "{len}");
        assert!(!add_up(&options[..len]));
    }
    for len in [0, 12, 24, 32] {
        assert!(add_up(&options[..len]));
    }
    assert_eq!(gwlb(&option(0x0101, 1, 31)[..124]), Err(Reason::GeneveOptionLength));
}

#[test]
fn the_class_is_seen_even_in_an_option_that_is_cut() {
    assert!(has_gwlb_option(&three().concat()));
    assert!(has_gwlb_option(&COOKIE_OPTION[..4]));
    assert!(has_gwlb_option(&[&option(0x0101, 1, 3)[..], &[0x01, 0x08]].concat()));
    assert!(!has_gwlb_option(&option(0x0101, 1, 3)));
    assert!(!has_gwlb_option(&[]));
}

fn base(first: u8, flags: u8) -> Vec<u8> {
    let mut datagram = vec![first, flags, 0x08, 0x00, 1, 2, 3, 0xff];
    datagram.extend(three().concat());
    datagram.push(0x45);
    datagram
}

#[test]
fn only_version_zero_is_read() {
    for version in 1..=3u8 {
        let datagram = base(version << 6 | 8, 0);
        let found = header(&datagram, 0, datagram.len()).map(|h| h.payload);
        assert_eq!(found, Err(Reason::GeneveVersion));
    }
}

#[test]
fn control_packets_are_refused_and_other_flags_ignored() {
    for flags in 0..=255u8 {
        let datagram = base(8, flags);
        let found = header(&datagram, 0, datagram.len()).map(|h| h.payload);
        let expected = if flags & 0x80 != 0 { Err(Reason::GeneveControl) } else { Ok(40) };
        assert_eq!(found, expected, "{flags:08b}");
    }
}

#[test]
fn options_end_within_the_datagram() {
    let datagram = base(8, 0);
    for (words, expected) in
        [(0, Ok(8)), (7, Ok(36)), (8, Ok(40)), (9, Err(Reason::GeneveOptionLength))]
    {
        let mut datagram = datagram.clone();
        datagram[0] = words;
        assert_eq!(header(&datagram, 0, 41).map(|h| h.payload), expected, "{words} words");
    }
    for len in 0..8 {
        assert_eq!(header(&datagram, 0, len).map(|h| h.payload), Err(Reason::Truncated));
    }
}

#[test]
fn the_longest_option_area_is_read_and_no_longer_one_exists() {
    let mut options = three().concat();
    options.extend(option(0x0101, 1, 31));
    options.extend(option(0x0101, 1, 22));
    assert_eq!(options.len(), 63 * 4);
    let mut datagram = vec![63, 0, 0x08, 0x00, 0, 0, 0, 0];
    datagram.extend(&options);
    let found = header(&datagram, 0, datagram.len()).unwrap();
    assert_eq!((found.payload, gwlb(found.options)), (260, Ok(KNOWN)));
}
