//! The fingerprints of a hello, from memory where the same was asked before: most hellos come from few
//! programs, and all that a fingerprint is made of stays the same in each. What is remembered is found by
//! all of that, byte by byte, so that memory changes no answer. Which fingerprints there are is elsewhere.

use super::hello::{ClientHello, Transport, is_grease, words};
use super::{ja3, ja4};
use crate::model::Ja4;
use foldhash::fast::RandomState;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher};

/// Fingerprints a thread remembers.
const PLACES: usize = 256;
/// A hello whose lists are longer is not remembered. The longest of common programs take 260 bytes.
const KEY_BYTES: usize = 320;

thread_local! {
    /// A reader of streams lives in one thread, but not in one place: what readers share is the thread's.
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// JA4 and JA3 of a hello.
#[must_use]
pub fn both(hello: &ClientHello<'_>, transport: Transport) -> (Ja4, [u8; 32]) {
    let made = || (ja4::ja4(hello, transport), ja3::ja3(hello));
    match Key::of(hello, transport) {
        Some(key) => MEMORY.with_borrow_mut(|memory| memory.recall(&key, made)),
        None => made(),
    }
}

/// What was made of the last hellos, each at the place its key leads to.
#[derive(Default)]
struct Memory {
    places: Vec<Place>,
    /// Keys come from clients.
    hasher: RandomState,
}

/// One key, and what is made of it.
#[derive(Clone)]
struct Place {
    key: Key,
    ja4: Ja4,
    ja3: [u8; 32],
}

impl Memory {
    fn recall(&mut self, key: &Key, make: impl Fn() -> (Ja4, [u8; 32])) -> (Ja4, [u8; 32]) {
        if self.places.is_empty() {
            self.places = vec![Place { key: Key::EMPTY, ja4: Ja4([0; 36]), ja3: [0; 32] }; PLACES];
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.bytes());
        let at = hasher.finish() % PLACES as u64;
        let Some(place) = self.places.get_mut(at as usize) else { return make() };
        if place.key.bytes() != key.bytes() {
            let (ja4, ja3) = make();
            *place = Place { key: *key, ja4, ja3 };
        }
        (place.ja4, place.ja3)
    }
}

/// All that fingerprints are made of, one list behind the other.
#[derive(Clone, Copy)]
struct Key {
    bytes: [u8; KEY_BYTES],
    len: usize,
}

impl Key {
    /// That of no hello.
    const EMPTY: Self = Self { bytes: [0; KEY_BYTES], len: 0 };

    /// `None`: it would be too long.
    fn of(hello: &ClientHello<'_>, transport: Transport) -> Option<Self> {
        let mut key = Self::EMPTY;
        let named = if hello.has_server_name { 2 } else { 0 };
        key.word(u16::from(transport == Transport::Quic) | named)?;
        key.word(hello.version)?;
        key.word(hello.offered().0)?;
        key.word(u16::from_be_bytes(ja4::protocol(hello)))?;
        key.list(words(hello.ciphers))?;
        key.list(hello.extension_types())?;
        key.list(words(hello.groups))?;
        key.list(words(hello.signatures))?;
        key.list(hello.formats.iter().map(|&format| u16::from(format)))?;
        Some(key)
    }

    /// The members of a list without GREASE, and behind them how many they are.
    #[inline]
    fn list(&mut self, values: impl Iterator<Item = u16>) -> Option<()> {
        let start = self.len;
        for value in values.filter(|&value| !is_grease(value)) {
            self.word(value)?;
        }
        self.word((self.len - start) as u16)
    }

    #[inline]
    fn word(&mut self, value: u16) -> Option<()> {
        let room = self.bytes.get_mut(self.len..)?.first_chunk_mut::<2>()?;
        *room = value.to_be_bytes();
        self.len += 2;
        Some(())
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lists of a hello, from few values, so that hellos are alike.
    fn lists() -> impl Strategy<Value = [Vec<u8>; 6]> {
        let word = prop_oneof![Just(0x1301_u16), Just(0x0a0a), Just(0), Just(0x0010), 0..4_u16];
        let list = || proptest::collection::vec(word.clone(), 0..4);
        let lists = [list(), list(), list(), list(), list(), list()];
        lists.prop_map(|lists| {
            lists.map(|list| list.iter().flat_map(|value| value.to_be_bytes()).collect())
        })
    }

    fn hello([ciphers, kinds, groups, signatures, versions, formats]: &[Vec<u8>; 6]) -> Owned<'_> {
        let extensions = kinds.chunks(2).flat_map(|kind| [kind, &[0, 0]].concat()).collect();
        Owned { ciphers, extensions, groups, signatures, versions, formats }
    }

    struct Owned<'a> {
        ciphers: &'a [u8],
        extensions: Vec<u8>,
        groups: &'a [u8],
        signatures: &'a [u8],
        versions: &'a [u8],
        formats: &'a [u8],
    }

    impl Owned<'_> {
        fn hello(&self, version: u16, named: bool, alpn: bool) -> ClientHello<'_> {
            ClientHello {
                version,
                ciphers: self.ciphers,
                extensions: &self.extensions,
                has_server_name: named,
                protocols: if alpn { b"\x02h2" } else { b"" },
                versions: self.versions,
                signatures: self.signatures,
                groups: self.groups,
                formats: self.formats,
                ..ClientHello::default()
            }
        }
    }

    proptest! {
        #[test]
        fn memory_changes_no_answer(
            hellos in proptest::collection::vec(
                (lists(), 0x0301..0x0304_u16, any::<bool>(), any::<bool>(), any::<bool>()),
                1..40,
            ),
        ) {
            for (lists, version, named, alpn, quic) in &hellos {
                let lists = hello(lists);
                let hello = lists.hello(*version, *named, *alpn);
                let transport = if *quic { Transport::Quic } else { Transport::Tcp };
                let made = (ja4::ja4(&hello, transport), ja3::ja3(&hello));
                prop_assert_eq!(both(&hello, transport), made);
                prop_assert_eq!(both(&hello, transport), made);
            }
        }
    }

    #[test]
    fn what_differs_in_grease_alone_is_made_once() {
        let mut memory = Memory::default();
        let made = std::cell::Cell::new(0);
        for grease in [0x0a, 0x1a, 0xfa] {
            let ciphers = [grease, grease, 0x13, 0x01];
            let hello = ClientHello { ciphers: &ciphers, ..ClientHello::default() };
            let key = Key::of(&hello, Transport::Tcp).unwrap();
            memory.recall(&key, || {
                made.set(made.get() + 1);
                (ja4::ja4(&hello, Transport::Tcp), ja3::ja3(&hello))
            });
        }
        assert_eq!(made.get(), 1);
    }

    #[test]
    fn lists_are_remembered_up_to_a_length() {
        // Four words in front, five counts.
        let room = (KEY_BYTES - 2 * 9) / 2;
        for (count, fits) in [(room - 1, true), (room, true), (room + 1, false)] {
            let ciphers = [0x13, 0x01].repeat(count);
            let hello = ClientHello { ciphers: &ciphers, ..ClientHello::default() };
            assert_eq!(Key::of(&hello, Transport::Tcp).is_some(), fits, "{count}");
            let made = (ja4::ja4(&hello, Transport::Tcp), ja3::ja3(&hello));
            assert_eq!(both(&hello, Transport::Tcp), made);
        }
    }
}
