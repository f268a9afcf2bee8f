//! HPACK (RFC 7541): header blocks to fields, with its tables and their bounds. Entries of the dynamic
//! table keep their sizes, and the text of those alone that name a host; what a field means for a
//! request is `request`'s.

use super::huffman::{self, HuffmanFault};
use super::request::{Name, Request};
use super::statics::STATIC;
use crate::inspect::bytes::Reader;
use crate::model::Reason;
use std::collections::VecDeque;

/// The dynamic table's size until the client changes it (RFC 9113 section 6.5.2).
pub const TABLE_DEFAULT_BYTES: usize = 4096;
/// The largest dynamic table followed. A client may only go beyond the default once the server's
/// SETTINGS allow it, and says so in a size update (RFC 7541 section 4.2): the server refuses
/// updates it did not allow, so its SETTINGS need not be read.
pub const TABLE_LIMIT_BYTES: usize = 64 * 1024;
/// The longest header list, counted as RFC 9113 section 6.5.2 does: 32 bytes for each field.
pub const LIST_LIMIT_BYTES: usize = 64 * 1024;
/// Counted for each field and each entry (RFC 7541 section 4.1).
const OVERHEAD_BYTES: usize = 32;
/// Size updates in front of a block: the smallest and the last (RFC 7541 section 4.2).
const SIZE_UPDATES_LIMIT: usize = 2;
/// Bytes of an integer behind its prefix; more would only write zeros or pass 2^28.
const INTEGER_LIMIT_BYTES: usize = 4;

/// The decoder of one direction of a connection.
#[derive(Debug)]
pub(super) struct Decoder {
    table: VecDeque<Entry>,
    size: usize,
    max: usize,
    scratch: Vec<u8>,
}

/// An entry of the dynamic table.
#[derive(Debug)]
struct Entry {
    name: Name,
    name_len: usize,
    value_len: usize,
    /// The value, where it tells where a request goes.
    told: Option<Box<[u8]>>,
}

impl Entry {
    const fn size(&self) -> usize {
        self.name_len.saturating_add(self.value_len).saturating_add(OVERHEAD_BYTES)
    }
}

impl Decoder {
    pub(super) const fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max: TABLE_DEFAULT_BYTES, scratch: Vec::new() }
    }

    /// Decodes one complete block.
    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Request, Reason> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let request = self.fields(block, &mut scratch);
        self.scratch = scratch;
        request
    }

    fn fields(&mut self, block: &[u8], scratch: &mut Vec<u8>) -> Result<Request, Reason> {
        let mut reader = Reader::new(block);
        let mut request = Request::default();
        let (mut updates, mut list, mut begun) = (0_usize, 0_usize, false);
        while let Some(&first) = reader.rest().first() {
            if first & 0xe0 == 0x20 {
                updates = updates.saturating_add(1);
                let size = integer(&mut reader, 5)?;
                if begun || updates > SIZE_UPDATES_LIMIT {
                    return Err(Reason::Http2Malformed);
                }
                self.resize(size)?;
                continue;
            }
            begun = true;
            let size = if first & 0x80 != 0 {
                self.indexed(&mut reader, &mut request)?
            } else {
                self.literal(&mut reader, scratch, &mut request)?
            };
            list = list.saturating_add(size);
            if list > LIST_LIMIT_BYTES {
                return Err(Reason::LimitInspection);
            }
        }
        Ok(request)
    }

    fn resize(&mut self, max: usize) -> Result<(), Reason> {
        if max > TABLE_LIMIT_BYTES {
            return Err(Reason::LimitInspection);
        }
        self.max = max;
        self.evict(0);
        Ok(())
    }

    /// Drops the oldest entries until `room` more bytes fit.
    fn evict(&mut self, room: usize) {
        while self.size.saturating_add(room) > self.max {
            let Some(entry) = self.table.pop_back() else { break };
            self.size = self.size.saturating_sub(entry.size());
        }
    }

    /// A field both parts of which stand in a table (RFC 7541 section 6.1).
    fn indexed(&self, reader: &mut Reader<'_>, request: &mut Request) -> Result<usize, Reason> {
        let index = integer(reader, 7)?;
        if let Some((name, value)) = static_entry(index) {
            request.field(Name::of(name.as_bytes())?, value.as_bytes())?;
            return Ok(name.len().saturating_add(value.len()).saturating_add(OVERHEAD_BYTES));
        }
        let entry = self.entry(index)?;
        request.field(entry.name, entry.told.as_deref().unwrap_or(SEEN))?;
        Ok(entry.size())
    }

    /// A field whose value, at least, stands in the block (RFC 7541 sections 6.2.1-6.2.3).
    fn literal(
        &mut self,
        reader: &mut Reader<'_>,
        scratch: &mut Vec<u8>,
        request: &mut Request,
    ) -> Result<usize, Reason> {
        let indexing = reader.rest().first().is_some_and(|b| b & 0x40 != 0);
        let index = integer(reader, if indexing { 6 } else { 4 })?;
        let (name, name_len) = if index == 0 {
            let text = string(reader, scratch)?;
            (Name::of(text)?, text.len())
        } else if let Some((name, _)) = static_entry(index) {
            (Name::of(name.as_bytes())?, name.len())
        } else {
            let entry = self.entry(index)?;
            (entry.name, entry.name_len)
        };
        let value = string(reader, scratch)?;
        name.check(value)?;
        request.field(name, value)?;
        let value_len = value.len();
        let told = (indexing && name.is_told()).then(|| Box::from(value));
        let entry = Entry { name, name_len, value_len, told };
        let size = entry.size();
        if indexing {
            // An entry larger than the table empties it (RFC 7541 section 4.4).
            self.evict(size);
            if size <= self.max {
                self.size = self.size.saturating_add(size);
                self.table.push_front(entry);
            }
        }
        Ok(size)
    }

    fn entry(&self, index: usize) -> Result<&Entry, Reason> {
        let at = index.checked_sub(STATIC.len()).and_then(|at| at.checked_sub(1));
        at.and_then(|at| self.table.get(at)).ok_or(Reason::Http2Malformed)
    }
}

/// Stands for the value of an entry that was checked when it came and is not kept.
const SEEN: &[u8] = b"seen";

fn static_entry(index: usize) -> Option<(&'static str, &'static str)> {
    STATIC.get(index.checked_sub(1)?).copied()
}

/// An integer with a prefix of `bits` (RFC 7541 section 5.1).
fn integer(reader: &mut Reader<'_>, bits: u32) -> Result<usize, Reason> {
    let mask = 0xff_u8.checked_shr(8_u32.saturating_sub(bits)).unwrap_or(0);
    let prefix = reader.u8().ok_or(Reason::Http2Malformed)? & mask;
    let mut value = usize::from(prefix);
    if prefix != mask {
        return Ok(value);
    }
    for place in 0..INTEGER_LIMIT_BYTES {
        let byte = reader.u8().ok_or(Reason::Http2Malformed)?;
        let part = usize::from(byte & 0x7f) << place.saturating_mul(7);
        value = value.saturating_add(part);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Reason::Http2Malformed)
}

/// A string literal (RFC 7541 section 5.2), decoded into `scratch` if it is coded.
fn string<'t, 'b: 't>(
    reader: &mut Reader<'b>,
    scratch: &'t mut Vec<u8>,
) -> Result<&'t [u8], Reason> {
    let coded = reader.rest().first().is_some_and(|b| b & 0x80 != 0);
    let len = integer(reader, 7)?;
    let text = reader.take(len).ok_or(Reason::Http2Malformed)?;
    if !coded {
        return Ok(text);
    }
    scratch.clear();
    match huffman::decode(text, scratch, LIST_LIMIT_BYTES) {
        Ok(()) => Ok(scratch),
        Err(HuffmanFault::Code) => Err(Reason::Http2Malformed),
        Err(HuffmanFault::TooLong) => Err(Reason::LimitInspection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::http::target::Host;

    fn host(decoder: &mut Decoder, block: &[u8]) -> Result<String, Reason> {
        Ok(match decoder.decode(block)?.asked()? {
            Host::Name(name) => String::from_utf8(name.to_vec()).unwrap(),
            _ => "-".to_owned(),
        })
    }

    /// Requests of RFC 7541 appendix C.3 (plain) and C.4 (Huffman), with the table size after each.
    #[test]
    fn requests_of_rfc_7541_appendix_c_decode() {
        let plain: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x0fwww.example.com",
            b"\x82\x86\x84\xbe\x58\x08no-cache",
            b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
        ];
        let coded: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
            b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::new();
            for (block, size) in blocks.into_iter().zip([57, 110, 164]) {
                assert_eq!(host(&mut decoder, block), Ok("www.example.com".to_owned()));
                assert_eq!(decoder.size, size);
            }
        }
    }

    #[test]
    fn entries_leave_when_the_table_shrinks_or_fills() {
        let mut decoder = Decoder::new();
        let first = b"\x82\x86\x84\x41\x0fwww.example.com";
        host(&mut decoder, first).unwrap();
        assert_eq!(host(&mut decoder, b"\x20\x82\x86\x84\xbe"), Err(Reason::Http2Malformed));
        assert_eq!(decoder.size, 0);
        let mut small = Decoder::new();
        for (max, entries) in [(56_u8, 0), (57, 1), (58, 1)] {
            let update = [&[0x3f, max - 31][..], first].concat();
            host(&mut small, &update).unwrap();
            assert_eq!(small.table.len(), entries, "{max}");
            small.table.clear();
            small.size = 0;
        }
    }

    #[test]
    fn table_updates_end_at_their_limit_and_come_first() {
        let request = b"\x82\x41\x01a";
        // 65 535, 65 536 and 65 537, less the prefix of 31.
        for (update, fits) in [(0xffe0_u32, true), (0xffe1, true), (0xffe2, false)] {
            let bytes =
                [0x3f, update as u8 | 0x80, (update >> 7) as u8 | 0x80, (update >> 14) as u8];
            let result = host(&mut Decoder::new(), &[&bytes[..], request].concat());
            assert_eq!(result.is_ok(), fits, "{update}: {result:?}");
        }
        let twice = host(&mut Decoder::new(), &[b"\x20\x3f\x01", &request[..]].concat());
        assert_eq!(twice, Ok("a".to_owned()));
        for block in [&b"\x20\x20\x20\x82\x41\x01a"[..], b"\x82\x20\x41\x01a"] {
            assert_eq!(host(&mut Decoder::new(), block), Err(Reason::Http2Malformed));
        }
    }

    #[test]
    fn indices_integers_and_strings_that_are_none_are_refused() {
        for block in [
            &b"\x80"[..],
            b"\xbe",
            b"\xff\xff\xff\xff\xff\x01",
            b"\xff\x80\x80\x80\x80\x00",
            b"\xff",
            b"\x41\x05a",
            b"\x41",
            b"\x41\x81\x18",
            b"\x88",
            b"\x0f\x2a\x07chunked",
        ] {
            let result = host(&mut Decoder::new(), block);
            assert_eq!(result, Err(Reason::Http2Malformed), "{block:02x?}");
        }
    }

    #[test]
    fn header_lists_end_at_their_limit() {
        for (len, fits) in [(65_535, true), (65_536, true), (65_537, false)] {
            // `:method: GET` counts 42, and a field `x` of this value 33 more.
            let value = len - 42 - 33;
            let mut block = b"\x82\x00\x01x\x7f".to_vec();
            let rest = value - 127;
            block.extend([rest as u8 | 0x80, (rest >> 7) as u8 | 0x80, (rest >> 14) as u8]);
            block.resize(block.len() + value, b'y');
            let expected = if fits { Ok("-".to_owned()) } else { Err(Reason::LimitInspection) };
            assert_eq!(host(&mut Decoder::new(), &block), expected, "{len}");
        }
        let many = [&b"\x82"[..], &[0x90; 60_000][..]].concat();
        assert_eq!(host(&mut Decoder::new(), &many), Err(Reason::LimitInspection));
    }
}
