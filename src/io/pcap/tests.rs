//! The reader against captures made here: every format, every order, every cut.

use super::*;
use std::io::{Cursor, Write};

type Packet = (u64, Link, Vec<u8>, u32);

fn read(bytes: &[u8]) -> (Vec<Packet>, Vec<Warning>, Option<CaptureError>) {
    let source = Box::new(Cursor::new(bytes.to_vec()));
    let mut reader = match CaptureReader::new("test", source) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Vec::new(), Some(error)),
    };
    let mut packets = Vec::new();
    let error = loop {
        match reader.next_packet() {
            Ok(Some(p)) => {
                packets.push((p.at.as_nanos(), p.link, p.bytes.to_vec(), p.original_len))
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    (packets, reader.warnings(), error)
}

fn sample() -> Vec<Packet> {
    (0_u8..40)
        .map(|n| {
            let bytes: Vec<u8> = (0..n * 3).map(|b| b ^ n).collect();
            let len = bytes.len() as u32;
            (1_700_000_000_123_456_789 + u64::from(n), Link::Ethernet, bytes, len + 7)
        })
        .collect()
}

fn written(packets: &[Packet], format: Format) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), format);
    for (at, link, bytes, original_len) in packets {
        let at = Timestamp::from_nanos(*at);
        writer
            .write(&CapturedPacket { at, link: *link, bytes, original_len: *original_len })
            .unwrap();
    }
    writer.finish().unwrap()
}

/// A pcap built by hand: any magic, any order.
fn classic(magic: u32, big: bool, link: u32, records: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let number = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
    let mut file = Vec::new();
    for value in [magic, 0, 0, 0, 65535, link] {
        file.extend(number(value));
    }
    for (secs, fraction, bytes) in records {
        for value in [*secs, *fraction, bytes.len() as u32, bytes.len() as u32] {
            file.extend(number(value));
        }
        file.extend(*bytes);
    }
    file
}

/// A pcapng block built by hand; `body` is made of 32-bit numbers and raw bytes, padded.
fn block(big: bool, kind: u32, numbers: &[u32], raw: &[u8]) -> Vec<u8> {
    let number = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
    let raw_len = raw.len().next_multiple_of(4);
    let len = (12 + 4 * numbers.len() + raw_len) as u32;
    let mut out = Vec::new();
    out.extend(number(kind));
    out.extend(number(len));
    numbers.iter().for_each(|&value| out.extend(number(value)));
    out.extend(raw);
    out.resize(len as usize - 4, 0);
    out.extend(number(len));
    out
}

fn section(big: bool) -> Vec<u8> {
    block(big, 0x0a0d_0d0a, &[0x1a2b_3c4d, if big { 0x0001_0000 } else { 1 }, !0, !0], &[])
}

fn interface(big: bool, link: u32, resolution: u8) -> Vec<u8> {
    let link = if big { link << 16 } else { link };
    let option = if big { 9 << 16 | 1 } else { 1 << 16 | 9 };
    let value = if big { u32::from(resolution) << 24 } else { u32::from(resolution) };
    block(big, 1, &[link, 0, option, value, 0], &[])
}

#[test]
fn what_is_written_is_read_again() {
    for format in [Format::Pcap, Format::Pcapng] {
        let (packets, warnings, error) = read(&written(&sample(), format));
        assert!(error.is_none() && warnings.is_empty());
        assert_eq!(packets, sample(), "{format:?}");
    }
}

#[test]
fn an_empty_capture_is_a_capture() {
    for format in [Format::Pcap, Format::Pcapng] {
        let (packets, warnings, error) = read(&written(&[], format));
        assert!(packets.is_empty() && warnings.is_empty() && error.is_none(), "{format:?}");
    }
}

#[test]
fn several_link_layers_go_into_pcapng_only() {
    let mut packets = sample();
    packets[5].1 = Link::RawIp;
    packets[6].1 = Link::LinuxSll2;
    assert_eq!(read(&written(&packets, Format::Pcapng)).0, packets);
    let mut writer = CaptureWriter::new(Vec::new(), Format::Pcap);
    let packet = |link| CapturedPacket { at: Timestamp::ZERO, link, bytes: &[1], original_len: 1 };
    writer.write(&packet(Link::Ethernet)).unwrap();
    let error = writer.write(&packet(Link::RawIp)).unwrap_err();
    assert!(matches!(error, WriteError::MixedLinks(Link::Ethernet, Link::RawIp)));
}

#[test]
fn both_units_and_both_orders_of_pcap_are_read() {
    for big in [false, true] {
        for (magic, nanos) in [(0xa1b2_c3d4, 5_000_007_000), (0xa1b2_3c4d, 5_000_000_007)] {
            let file = classic(magic, big, 101, &[(5, 7, &[1, 2, 3])]);
            assert_eq!(read(&file).0, [(nanos, Link::RawIp, vec![1, 2, 3], 3)], "{big} {magic:x}");
        }
    }
}

/// A pcap of the modified form.
fn modified(big: bool, records: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = classic(0xa1b2_cd34, big, 101, &[]);
    for record in records {
        let usual = classic(0, big, 0, &[*record]);
        file.extend(&usual[24..40]);
        // Interface 2, protocol 0x0800, an outgoing packet.
        file.extend([2, 0, 0, 0, 8, 0, 4, 0]);
        file.extend(record.2);
    }
    file
}

#[test]
fn the_modified_form_of_pcap_is_read_in_both_orders() {
    for big in [false, true] {
        let file = modified(big, &[(5, 7, &[1, 2, 3]), (6, 0, &[]), (7, 999_999, &[4])]);
        let packet = |nanos, bytes: &[u8]| (nanos, Link::RawIp, bytes.to_vec(), bytes.len() as u32);
        let expected = [
            packet(5_000_007_000, &[1, 2, 3]),
            packet(6_000_000_000, &[]),
            packet(7_999_999_000, &[4]),
        ];
        let (packets, warnings, error) = read(&file);
        assert!(error.is_none() && warnings.is_empty(), "{big}");
        assert_eq!(packets, expected, "{big}");
    }
}

#[test]
fn a_modified_record_that_is_cut_or_too_long_ends_the_capture_where_it_begins() {
    let whole = modified(false, &[(5, 7, &[1, 2, 3]), (6, 0, &[9])]);
    // The second record begins at 51; its header has 24 bytes and its packet one.
    for len in 51..=whole.len() {
        let (packets, warnings, error) = read(&whole[..len]);
        let second = len == whole.len();
        assert!(error.is_none() && packets.len() == 1 + usize::from(second), "{len}");
        assert_eq!(warnings.is_empty(), second || len == 51, "{len}: {warnings:?}");
    }
    for (len, fits) in [
        (PACKET_LIMIT_BYTES - 1, true),
        (PACKET_LIMIT_BYTES, true),
        (PACKET_LIMIT_BYTES + 1, false),
    ] {
        let (packets, _, error) = read(&modified(false, &[(1, 0, &vec![0; len])]));
        assert_eq!((packets.len(), error.is_none()), (usize::from(fits), fits), "{len}");
    }
}

#[test]
fn sections_of_both_orders_and_several_interfaces_follow_each_other() {
    let mut file = Vec::new();
    for big in [true, false] {
        file.extend(section(big));
        file.extend(interface(big, 1, 6));
        file.extend(interface(big, 101, 0x80 | 10));
        file.extend(block(big, 6, &[0, 0, 2, 1, 9], &[0xaa]));
        file.extend(block(big, 0x0bad_cafe, &[7; 9], &[]));
        file.extend(block(big, 6, &[1, 0, 1024, 2, 2], &[0xbb, 0xcc]));
        file.extend(block(big, 3, &[3], &[1, 2, 3]));
        let obsolete = if big { 1 << 16 } else { 1 };
        file.extend(block(big, 2, &[obsolete, 0, 2048, 1, 1], &[0xdd]));
    }
    let once = [
        (2_000, Link::Ethernet, vec![0xaa], 9),
        (1_000_000_000, Link::RawIp, vec![0xbb, 0xcc], 2),
        (1_000_000_000, Link::Ethernet, vec![1, 2, 3], 3),
        (2_000_000_000, Link::RawIp, vec![0xdd], 1),
    ];
    let (packets, _, error) = read(&file);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(packets, [once.clone(), once].concat());
}

#[test]
fn a_capture_cut_anywhere_gives_every_whole_packet_and_a_warning() {
    for (format, header) in [(Format::Pcap, 24), (Format::Pcapng, 28)] {
        let file = written(&sample()[..6], format);
        let mut last = 0;
        for cut in 1..file.len() {
            let (packets, warnings, error) = read(&file[..cut]);
            if let Some(error) = error {
                let Fault::Short(len) = error.fault else { panic!("{cut} {error}") };
                assert!(len == cut && cut < header, "{format:?} {cut}");
                continue;
            }
            assert!(cut >= header, "{format:?} {cut}");
            assert!(packets.len() >= last && sample().starts_with(&packets), "{format:?} {cut}");
            last = packets.len();
            let at_a_border = warnings.is_empty();
            let bytes_read = written(&packets, format).len();
            assert!(at_a_border == (bytes_read == cut) || packets.is_empty(), "{format:?} {cut}");
        }
        assert_eq!(last, if format == Format::Pcap { 5 } else { 6 });
    }
}

#[test]
fn a_packet_may_be_as_long_as_the_limit() {
    for (len, fits) in [
        (PACKET_LIMIT_BYTES - 1, true),
        (PACKET_LIMIT_BYTES, true),
        (PACKET_LIMIT_BYTES + 1, false),
    ] {
        for format in [Format::Pcap, Format::Pcapng] {
            let packet = (0, Link::RawIp, vec![3; len], len as u32);
            let small = (1, Link::RawIp, vec![4], 1);
            let file = written(&[small.clone(), packet.clone(), small.clone()], format);
            let (packets, _, error) = read(&file);
            if fits {
                assert_eq!(packets, [small.clone(), packet, small]);
            } else {
                let error = error.unwrap();
                assert!(matches!(error.fault, Fault::TooLong(_)));
                let offset = if format == Format::Pcap { 41 } else { 60 + 36 };
                assert_eq!(error.offset, offset, "{error}");
                assert_eq!(packets, [small]);
            }
        }
    }
}

#[test]
fn contradictions_in_pcapng_are_malformed() {
    let head = [section(false), interface(false, 1, 6)].concat();
    let mut unequal = block(false, 9, &[1], &[]);
    unequal[12] = 20;
    for (what, bad) in [
        ("shorter than itself", [6_u32.to_le_bytes(), 8_u32.to_le_bytes(), [0; 4]].concat()),
        ("not a multiple of 4", [6_u32.to_le_bytes(), 33_u32.to_le_bytes(), [0; 4]].concat()),
        ("packet beyond block", block(false, 6, &[0, 0, 0, 5, 5], &[1, 2, 3, 4])),
        ("unknown interface", block(false, 6, &[1, 0, 0, 0, 0], &[])),
        ("unequal lengths", unequal),
        ("no byte-order magic", block(false, 0x0a0d_0d0a, &[1, 1, 0, 0], &[])),
        ("short interface", block(false, 1, &[1], &[])),
    ] {
        let (packets, _, error) = read(&[head.clone(), bad].concat());
        let error = error.unwrap_or_else(|| panic!("{what}"));
        assert!(matches!(error.fault, Fault::Malformed(_)), "{what}: {error}");
        assert!(packets.is_empty());
    }
}

#[test]
fn interfaces_of_a_section_are_bounded() {
    for (count, fits) in
        [(INTERFACES_MAX - 1, true), (INTERFACES_MAX, true), (INTERFACES_MAX + 1, false)]
    {
        let mut file = section(false);
        for _ in 0..count {
            file.extend(block(false, 1, &[1, 0], &[]));
        }
        assert_eq!(read(&file).2.is_none(), fits, "{count}");
        file.extend(section(false));
        file.extend(block(false, 1, &[1, 0], &[]));
        assert_eq!(read(&file).2.is_none(), fits, "a new section starts anew");
    }
}

#[test]
fn packets_of_unreadable_link_layers_are_left_out_and_counted() {
    let file = classic(0xa1b2_c3d4, false, 105, &[(1, 0, &[1]), (2, 0, &[2])]);
    let (packets, warnings, _) = read(&file);
    assert!(packets.is_empty());
    let link = LinkType(105);
    assert_eq!(warnings, [Warning::UnsupportedLink { file: "test".into(), link, packets: 2 }]);
    assert!(warnings[0].to_string().contains("802.11"));
}

#[test]
fn what_is_no_capture_says_what_was_expected() {
    let (_, _, error) = read(b"");
    assert_eq!(
        error.unwrap().to_string(),
        "test: is empty; expected a capture (pcap or pcapng, as it is or packed with gzip or zstd)"
    );
    let (_, _, error) = read(b"hello there");
    assert!(error.unwrap().to_string().starts_with("test: starts with 68 65 6c 6c; expected a"));
    let error = CaptureReader::open("no/such/file.pcap").err().unwrap();
    assert!(error.to_string().starts_with("no/such/file.pcap: no such file; expected a capture"));
    let error = CaptureReader::open("src").err().unwrap();
    assert!(error.to_string().starts_with("src: is a directory; expected a capture"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn packed_captures_are_unpacked_even_in_several_pieces() {
    let file = written(&sample(), Format::Pcapng);
    let (front, back) = file.split_at(333);
    let skippable = [0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
    for packed in [
        gzip(&file),
        zstd(&file),
        [gzip(front), gzip(back)].concat(),
        [&skippable[..], &zstd(front), &skippable, &zstd(back)].concat(),
    ] {
        let (packets, warnings, error) = read(&packed);
        assert!(error.is_none() && warnings.is_empty(), "{error:?} {warnings:?}");
        assert_eq!(packets, sample());
    }
}

#[test]
fn a_packed_capture_that_is_cut_gives_what_is_before_the_cut() {
    let noise = |n: u64| (0..1000).map(move |i| ((i * 2_654_435_761 * (n + 7)) >> 13) as u8);
    let long: Vec<Packet> = (0..600).map(|n| (n, Link::RawIp, noise(n).collect(), 1000)).collect();
    let file = written(&long, Format::Pcap);
    for packed in [gzip(&file), zstd(&file)] {
        let (packets, warnings, error) = read(&packed[..packed.len() * 3 / 4]);
        assert!(error.is_none(), "{error:?}");
        assert!(packets.len() > 200 && long.starts_with(&packets), "{}", packets.len());
        assert!(matches!(warnings[..], [Warning::Truncated { .. }]));
    }
}

/// For fuzzing: reads anything to its end.
fn read_all(bytes: &[u8]) {
    let (packets, ..) = read(bytes);
    assert!(packets.iter().all(|p| p.2.len() <= PACKET_LIMIT_BYTES));
}

#[test]
fn mutated_captures_never_panic() {
    let small = &sample()[..5];
    let files = [Format::Pcap, Format::Pcapng]
        .map(|f| written(small, f))
        .into_iter()
        .flat_map(|file| [gzip(&file), zstd(&file), file]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for file in files {
        for _ in 0..1500 {
            let mut file = file.clone();
            for _ in 0..=seed % 4 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (seed >> 33) as usize % file.len();
                file[at] = match seed >> 61 {
                    0 => 0,
                    1 => 0xff,
                    _ => (seed >> 20) as u8,
                };
            }
            read_all(&file);
        }
    }
}
