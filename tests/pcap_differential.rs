//! The capture reader against pcap-parser, which shares no code with it: over the project's own
//! captures, and over every capture in the folder that `LOCKGATE_CAPTURES` names.

use lockgate::io::pcap::{CaptureReader, CaptureWriter, CapturedPacket, Format, LinkType};
use lockgate::model::Timestamp;
use lockgate::wire::Link;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Enough to compare packets by: time, captured and original length, a sum of the bytes.
type Packet = (u64, usize, u32, u64);

fn captures() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    let given = std::env::var_os("LOCKGATE_CAPTURES").map(PathBuf::from);
    if given.is_none() {
        eprintln!("SKIPPED in part: LOCKGATE_CAPTURES names no folder of further captures");
    }
    let mut files: Vec<PathBuf> = given
        .into_iter()
        .chain([own])
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "pcap" || e == "pcapng"))
        .collect();
    files.sort();
    files
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(14_695_981_039_346_656_037, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211)
    })
}

fn ours(path: &Path) -> Result<Vec<Packet>, String> {
    let mut reader = CaptureReader::open(&path.to_string_lossy()).map_err(|e| e.to_string())?;
    let mut packets = Vec::new();
    while let Some(p) = reader.next_packet().map_err(|e| e.to_string())? {
        packets.push((p.at.as_nanos(), p.bytes.len(), p.original_len, sum(p.bytes)));
    }
    Ok(packets)
}

/// One interface as pcap-parser gives it.
#[derive(Clone, Copy)]
struct Interface {
    link: u16,
    ticks_per_second: u64,
    offset: i64,
}

#[derive(Default)]
struct Theirs {
    packets: Vec<Packet>,
    interfaces: Vec<Interface>,
    header: Option<(u16, u64)>,
}

impl Theirs {
    /// Packets of link types that we leave out are left out here; what a link type puts before the
    /// link layer is cut off.
    fn push(&mut self, at: u64, link: u16, data: &[u8], original_len: u32) {
        if let Some(linked) = LinkType(link).resolve(data) {
            let rest = &data[linked.skip..];
            let original_len = original_len.saturating_sub(linked.skip as u32);
            self.packets.push((at, rest.len(), original_len, sum(rest)));
        }
    }

    fn block(&mut self, block: &PcapBlockOwned<'_>) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let unit = if header.is_nanosecond_precision() { 1 } else { 1000 };
                self.header = Some((header.network.0 as u16, unit));
            }
            PcapBlockOwned::Legacy(packet) => {
                let (link, unit) = self.header.expect("a header comes first");
                let at =
                    u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_usec) * unit;
                self.push(at, link, packet.data, packet.origlen);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
                self.interfaces.push(Interface {
                    link: described.linktype.0 as u16,
                    ticks_per_second: described.ts_resolution().expect("a resolution"),
                    offset: described.ts_offset(),
                });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let Interface { link, ticks_per_second, offset } =
                    self.interfaces[packet.if_id as usize];
                let ticks = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                let nanos = ticks * 1_000_000_000 / u128::from(ticks_per_second);
                let at = nanos as i128 + i128::from(offset) * 1_000_000_000;
                let at = u64::try_from(at.max(0)).unwrap_or(u64::MAX);
                self.push(at, link, packet.packet_data(), packet.origlen);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let last = self.packets.last().map_or(0, |p| p.0);
                let link = self.interfaces[0].link;
                self.push(last, link, packet.packet_data(), packet.origlen);
            }
            PcapBlockOwned::NG(_) => {}
        }
    }
}

fn theirs(path: &Path) -> Result<Vec<Packet>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut reader = create_reader(1 << 20, file).map_err(|e| e.to_string())?;
    let mut found = Theirs::default();
    loop {
        match reader.next() {
            Ok((consumed, block)) => {
                found.block(&block);
                reader.consume(consumed);
            }
            Err(PcapError::Eof | PcapError::UnexpectedEof) => return Ok(found.packets),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|e| e.to_string())?;
                if reader.reader_exhausted() && reader.data().is_empty() {
                    return Ok(found.packets);
                }
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[test]
fn what_we_write_is_what_both_read() {
    for (name, links) in [
        ("differential.pcap", &[Link::Ethernet][..]),
        ("differential.pcapng", &[Link::Ethernet, Link::RawIp, Link::LinuxSll]),
    ] {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut writer = CaptureWriter::new(File::create(&path).unwrap(), Format::for_name(name));
        let mut expected = Vec::new();
        for number in 0..5_000_usize {
            let bytes: Vec<u8> = (0..number * 7 % 1600).map(|b| (b * number) as u8).collect();
            let link = links[number % links.len()];
            let at = Timestamp::from_nanos(1_800_000_000_000_000_000 + number as u64 * 999_999_937);
            let packet = CapturedPacket { at, link, bytes: &bytes, original_len: 9000 };
            writer.write(&packet).unwrap();
            expected.push((at.as_nanos(), bytes.len(), 9000, sum(&bytes)));
        }
        writer.finish().unwrap();
        assert_eq!(ours(&path).unwrap(), expected, "{name}");
        assert_eq!(theirs(&path).unwrap(), expected, "{name}");
    }
}

#[test]
fn both_readers_find_the_same_packets() {
    let files = captures();
    let mut compared = 0;
    let mut packets = 0;
    for path in &files {
        let (ours, theirs) = match (ours(path), theirs(path)) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (Err(_), Err(_)) => continue,
            (Ok(_), Err(error)) => {
                eprintln!("only pcap-parser refuses {}: {error}", path.display());
                continue;
            }
            (Err(error), Ok(_)) => panic!("only we refuse {}: {error}", path.display()),
        };
        assert_eq!(ours.len(), theirs.len(), "packets of {}", path.display());
        for (number, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(a, b, "packet {number} of {}", path.display());
        }
        compared += 1;
        packets += ours.len();
    }
    eprintln!("{compared} of {} captures, {packets} packets: the same", files.len());
}
