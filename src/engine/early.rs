//! Lone DNS questions read before the turn of their frames, so that what judgement asks for by name is
//! on its way meanwhile. No verdict is made here: a question that was not read early is read then.

use super::ahead::{GROUP, Group, Soon};
use super::{Engine, Frame};
use crate::inspect::dns::lone::lone_question;
use crate::model::{DomainName, Protocol};
use crate::wire::{self, near};

/// Where questions are worth looking for. A hint and no more: what a datagram is, its bytes say.
pub(super) const DNS_PORT: u16 = 53;

/// The least bytes of a datagram that opens a QUIC connection (RFC 9000 section 14.1). A hint too.
const FIRST_DATAGRAM_BYTES: u16 = 1200;

/// The only question of a DNS message that opens a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Early {
    pub(super) name: DomainName,
    /// What its story is found by.
    pub(super) hash: u64,
}

/// The questions of a group, where there are such.
#[derive(Debug)]
pub(super) struct Questions {
    read: [Early; GROUP],
    /// Which of them were read: one bit each.
    there: u8,
}

impl Questions {
    /// The question of the frame at this place of the group.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&Early> {
        self.read.get(at).filter(|_| self.there >> at & 1 != 0)
    }

    /// Forgets all of them.
    #[inline]
    pub(super) const fn clear(&mut self) {
        self.there = 0;
    }
}

impl Default for Questions {
    fn default() -> Self {
        let none = Early { name: DomainName::empty(), hash: 0 };
        Self { read: [none; GROUP], there: 0 }
    }
}

impl Engine {
    /// Reads the questions that open flows of a group, and asks for their stories and the names that
    /// rules have.
    #[inline(never)]
    pub(super) fn read_questions<'f>(
        &self,
        frames: impl Iterator<Item = &'f Frame<'f>>,
        Group { soon, approach, .. }: &Group,
        questions: &mut Questions,
    ) {
        let mut bit = 1;
        for ((frame, soon), early) in frames.zip(soon).zip(&mut questions.read) {
            if soon.may_ask() {
                let payload = wire::payload_of_usual_datagram(frame.bytes, soon.payload_len);
                if lone_question(payload, &mut early.name) {
                    early.hash = self.cases.stories.hash_of_question(&early.name);
                    questions.there |= bit;
                }
            }
            bit <<= 1;
        }
        // One behind the other, so that one does not wait for the memory of the other.
        for (at, approach) in approach.iter().enumerate() {
            let Some(early) = questions.get(at) else { continue };
            self.cases.stories.prefetch_question(early.hash);
            if let Some(policy) = approach.as_ref().and_then(|approach| approach.policy) {
                self.policy.prefetch_question(policy, &early.name);
            }
        }
    }
}

/// Brings what may be questions near as far as their headers are not all of them, and all of what may
/// open a QUIC connection.
#[inline(never)]
pub(super) fn prefetch_questions<'f>(frames: impl Iterator<Item = &'f Frame<'f>>, group: &Group) {
    for (frame, soon) in frames.zip(&group.soon) {
        if soon.may_ask() {
            near::prefetch_payload(frame.bytes, usize::from(soon.payload_len));
        } else if soon.may_greet(frame.bytes) {
            near::prefetch_bytes(frame.bytes);
        }
    }
}

impl Soon {
    /// Whether it may be a QUIC packet that is read: one with a long header, in a datagram of the size
    /// that those have at least which open a connection.
    #[inline]
    fn may_greet(&self, frame: &[u8]) -> bool {
        let payload = || wire::payload_of_usual_datagram(frame, self.payload_len);
        self.payload_len >= FIRST_DATAGRAM_BYTES
            && self.is_usual()
            && self.key.protocol() == Protocol::UDP
            && payload().first().is_some_and(|first| first & 0x80 != 0)
    }

    /// Whether it may be a question that opens a flow.
    #[inline]
    fn may_ask(&self) -> bool {
        self.is_usual()
            && !self.likely.is_some()
            && self.payload_len > 0
            && self.key.protocol() == Protocol::UDP
            && self.key.sides(self.reversed)[1].1 == DNS_PORT
    }
}
