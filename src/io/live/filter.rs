//! The programs the kernel runs for a packet socket: which frames are for us, and which worker each
//! one goes to. The second computes [`super::spread`] from the bytes of a GWLB datagram; a test holds
//! the two against each other over everything the parser accepts.

use super::assembler::{Assembler, Label, Test};
use super::spread::{FOLD, MIX_FIRST, MIX_SECOND, Spread};
use crate::wire::IPV6_EXTENSION_LIMIT;
use libc::{BPF_ADD, BPF_AND, BPF_LSH, BPF_MUL, BPF_RSH, BPF_XOR, sock_filter};
use std::net::Ipv4Addr;

/// All of a frame, as the answer of a socket filter.
const WHOLE: u32 = u32::MAX;
/// Bytes of an Ethernet header; a VLAN tag the kernel has taken off does not count.
const ETHERNET: u32 = 14;
const IPV4: u32 = 0x0800;
const UDP: u32 = 17;
const TCP: u32 = 6;
/// More-fragments bit and offset of an IPv4 header; the offset alone.
const IPV4_PIECE: u32 = 0x3fff;
const IPV4_OFFSET: u32 = 0x1fff;
/// Offset and more-fragments bit of an IPv6 fragment header; the offset alone.
const IPV6_PIECE: u32 = 0xfff9;
const IPV6_OFFSET: u32 = 0xfff8;
const IPV6_FRAGMENT: u32 = 44;

/// Scratch memory.
const SRC: u32 = 0;
const DST: u32 = 1;
const PROTOCOL: u32 = 2;
const SRC_PORT: u32 = 3;
const DST_PORT: u32 = 4;
const ID: u32 = 5;

/// Takes Ethernet frames with an IPv4 UDP datagram to `address` and one of `ports`; not later fragments
/// of one, which have no port.
pub(super) fn datagrams(address: Ipv4Addr, ports: &[u16]) -> Vec<sock_filter> {
    let mut asm = Assembler::default();
    let (refuse, take) = (asm.label(), asm.label());
    asm.load_half(12);
    asm.jump_unless(Test::Equals(IPV4), refuse);
    asm.load_byte(ETHERNET + 9);
    asm.jump_unless(Test::Equals(UDP), refuse);
    asm.load_word(ETHERNET + 16);
    asm.jump_unless(Test::Equals(address.to_bits()), refuse);
    asm.load_half(ETHERNET + 6);
    asm.jump_if(Test::AnyBit(IPV4_OFFSET), refuse);
    asm.header_len_to_x(ETHERNET);
    asm.load_half_at(ETHERNET + 2);
    for port in ports {
        asm.jump_if(Test::Equals(u32::from(*port)), take);
    }
    asm.place(refuse);
    asm.answer(0);
    asm.place(take);
    asm.answer(WHOLE);
    asm.finish()
}

/// Takes nothing.
pub(super) fn nothing() -> Vec<sock_filter> {
    let mut asm = Assembler::default();
    asm.answer(0);
    asm.finish()
}

/// What a header stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The packet itself.
    Inner,
    /// What an ICMP error quotes.
    Quoted,
}

/// Where all ways end.
#[derive(Clone, Copy)]
struct Ends {
    /// `X` is at a header with ports.
    ports: Label,
    /// There are no ports.
    no_ports: Label,
    /// `A` is the identification of a fragment.
    fragment: Label,
}

/// The worker of a GWLB datagram, from its outer IPv4 header on. What is none, or ends before its
/// headers do, goes to the first worker.
pub(super) fn workers(spread: &Spread) -> Vec<sock_filter> {
    let mut asm = Assembler::default();
    let ends = Ends { ports: asm.label(), no_ports: asm.label(), fragment: asm.label() };
    let (v4, v6) = (asm.label(), asm.label());
    // Behind UDP (8) and the GENEVE header (8) with its options.
    asm.header_len_to_x(0);
    asm.load_byte_at(8);
    asm.apply(BPF_AND, 0x3f);
    asm.apply(BPF_LSH, 2);
    asm.apply_x(BPF_ADD);
    asm.apply(BPF_ADD, 16);
    asm.copy_to_x();
    asm.load_byte_at(0);
    asm.apply(BPF_RSH, 4);
    asm.jump_if(Test::Equals(4), v4);
    asm.jump_if(Test::Equals(6), v6);
    asm.answer(0);
    asm.place(v4);
    header_v4(&mut asm, spread, Level::Inner, ends);
    asm.place(v6);
    header_v6(&mut asm, spread, Level::Inner, ends);

    asm.place(ends.ports);
    asm.load_half_at(0);
    asm.keep(SRC_PORT);
    asm.load_half_at(2);
    asm.keep(DST_PORT);
    flow(&mut asm);
    scale(&mut asm, spread);

    asm.place(ends.no_ports);
    asm.set(0);
    asm.keep(SRC_PORT);
    asm.keep(DST_PORT);
    flow(&mut asm);
    scale(&mut asm, spread);

    asm.place(ends.fragment);
    asm.keep(ID);
    asm.set(0);
    asm.keep(SRC_PORT);
    asm.keep(DST_PORT);
    flow(&mut asm);
    asm.recall_x(ID);
    asm.apply_x(BPF_XOR);
    mix(&mut asm, MIX_SECOND);
    scale(&mut asm, spread);
    asm.finish()
}

/// `X` is at an IPv4 header.
fn header_v4(asm: &mut Assembler, spread: &Spread, level: Level, ends: Ends) {
    address(asm, spread, &[12], SRC);
    address(asm, spread, &[16], DST);
    asm.load_byte_at(9);
    asm.keep(PROTOCOL);
    let whole = asm.label();
    asm.load_half_at(6);
    if level == Level::Inner {
        asm.jump_unless(Test::AnyBit(IPV4_PIECE), whole);
        asm.load_half_at(4);
        asm.jump(ends.fragment);
    } else {
        asm.jump_if(Test::AnyBit(IPV4_OFFSET), ends.no_ports);
    }
    asm.place(whole);
    asm.load_byte_at(0);
    asm.apply(BPF_AND, 0x0f);
    asm.apply(BPF_LSH, 2);
    asm.apply_x(BPF_ADD);
    asm.copy_to_x();
    let error = transport(asm, level, 1, ends);
    if level == Level::Inner {
        asm.place(error);
        let quotes = asm.label();
        asm.load_byte_at(0);
        for kind in [3, 11, 12] {
            asm.jump_if(Test::Equals(kind), quotes);
        }
        asm.jump(ends.no_ports);
        asm.place(quotes);
        skip(asm, 8);
        header_v4(asm, spread, Level::Quoted, ends);
    }
}

/// `X` is at an IPv6 header.
fn header_v6(asm: &mut Assembler, spread: &Spread, level: Level, ends: Ends) {
    address(asm, spread, &[8, 12, 16, 20], SRC);
    address(asm, spread, &[24, 28, 32, 36], DST);
    asm.load_byte_at(6);
    asm.keep(PROTOCOL);
    skip(asm, 40);
    let chain_end = asm.label();
    for _ in 0..=IPV6_EXTENSION_LIMIT {
        extension(asm, level, chain_end, ends);
    }
    asm.place(chain_end);
    let error = transport(asm, level, 58, ends);
    if level == Level::Inner {
        asm.place(error);
        let quotes = asm.label();
        asm.load_byte_at(0);
        // Types 1 to 4.
        asm.jump_if(Test::Equals(0), ends.no_ports);
        asm.jump_unless(Test::Above(4), quotes);
        asm.jump(ends.no_ports);
        asm.place(quotes);
        skip(asm, 8);
        header_v6(asm, spread, Level::Quoted, ends);
    }
}

/// Steps over one IPv6 extension header at `X`, or leaves for `chain_end`.
fn extension(asm: &mut Assembler, level: Level, chain_end: Label, ends: Ends) {
    let (options, authentication, fragment) = (asm.label(), asm.label(), asm.label());
    let next = asm.label();
    asm.recall(PROTOCOL);
    for kind in [0, 43, 60] {
        asm.jump_if(Test::Equals(kind), options);
    }
    asm.jump_if(Test::Equals(51), authentication);
    asm.jump_if(Test::Equals(IPV6_FRAGMENT), fragment);
    asm.jump(chain_end);
    for (label, more, shift) in [(options, 1, 3), (authentication, 2, 2)] {
        asm.place(label);
        asm.load_byte_at(0);
        asm.keep(PROTOCOL);
        asm.load_byte_at(1);
        asm.apply(BPF_ADD, more);
        asm.apply(BPF_LSH, shift);
        asm.apply_x(BPF_ADD);
        asm.copy_to_x();
        asm.jump(next);
    }
    asm.place(fragment);
    let atomic = asm.label();
    if level == Level::Inner {
        asm.load_half_at(2);
        asm.jump_unless(Test::AnyBit(IPV6_PIECE), atomic);
        asm.load_word_at(4);
        asm.jump(ends.fragment);
        asm.place(atomic);
        asm.load_byte_at(0);
        asm.keep(PROTOCOL);
    } else {
        asm.load_byte_at(0);
        asm.keep(PROTOCOL);
        asm.load_half_at(2);
        asm.jump_if(Test::AnyBit(IPV6_OFFSET), ends.no_ports);
    }
    skip(asm, 8);
    asm.place(next);
}

/// `X` is at the transport header. Gives the label for ICMP, which in a quoted packet has no ports.
fn transport(asm: &mut Assembler, level: Level, icmp: u32, ends: Ends) -> Label {
    let error = asm.label();
    asm.recall(PROTOCOL);
    asm.jump_if(Test::Equals(TCP), ends.ports);
    asm.jump_if(Test::Equals(UDP), ends.ports);
    if level == Level::Inner {
        asm.jump_if(Test::Equals(icmp), error);
    }
    asm.jump(ends.no_ports);
    error
}

/// `X = X + k`.
fn skip(asm: &mut Assembler, k: u32) {
    asm.copy_x();
    asm.apply(BPF_ADD, k);
    asm.copy_to_x();
}

/// `M[slot] =` the address whose words stand at these distances from `X`, hashed. `X` stays.
fn address(asm: &mut Assembler, spread: &Spread, words: &[u32], slot: u32) {
    // X is needed for the fold: it is kept in the slot of the other half of this work.
    asm.copy_x();
    asm.keep(ID);
    asm.set(spread.seed);
    asm.keep(slot);
    for word in words {
        asm.load_word_at(*word);
        asm.recall_x(slot);
        asm.apply_x(BPF_XOR);
        mix(asm, MIX_FIRST);
        asm.keep(slot);
        asm.recall_x(ID);
    }
}

/// `A =` the hash of addresses, ports and protocol.
fn flow(asm: &mut Assembler) {
    for (side, port) in [(SRC, SRC_PORT), (DST, DST_PORT)] {
        asm.recall(side);
        asm.recall_x(port);
        asm.apply_x(BPF_ADD);
        mix(asm, MIX_SECOND);
        asm.keep(side);
    }
    asm.recall_x(SRC);
    asm.apply_x(BPF_ADD);
    asm.recall_x(PROTOCOL);
    asm.apply_x(BPF_XOR);
    mix(asm, MIX_FIRST);
}

/// `A = A * by`, its upper bits folded onto the lower ones. `X` is overwritten.
fn mix(asm: &mut Assembler, by: u32) {
    asm.apply(BPF_MUL, by);
    asm.copy_to_x();
    asm.apply(BPF_RSH, FOLD);
    asm.apply_x(BPF_XOR);
}

/// Ends with the worker of the hash `A`.
fn scale(asm: &mut Assembler, spread: &Spread) {
    asm.apply(BPF_RSH, 16);
    asm.apply(BPF_MUL, spread.workers);
    asm.apply(BPF_RSH, 16);
    asm.answer_a();
}

#[cfg(test)]
mod tests;
