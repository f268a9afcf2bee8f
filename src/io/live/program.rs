//! What the kernel runs on every frame: GENEVE datagrams to our address go to the socket of the queue
//! they came in by (XDP), or no further once packet sockets have them (tc); everything else is the
//! kernel's, and of that, datagrams behind a VLAN tag are counted. Written as instructions, so that neither a compiler for them nor an object file is
//! needed. Programs are loaded elsewhere.

use super::bpf::Instruction;
use std::net::Ipv4Addr;

/// Registers.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const R5: u8 = 5;
/// Whether there is a tag; no call changes it.
const R6: u8 = 6;

/// Fields of `struct xdp_md`, and the answer that gives a frame to the kernel (`enum xdp_action`).
const XDP_DATA: i16 = 0;
const XDP_QUEUE: i16 = 16;
const XDP_PASS: i32 = 2;

/// A field of `struct __sk_buff`, and answers of `enum tcx_action_base`.
const TC_DATA: i16 = 76;
const TC_NEXT: i32 = -1;
const TC_DROP: i32 = 2;

const REDIRECT_MAP: i32 = 51;

const ETHERNET: i16 = 14;
/// Outer headers without options: Ethernet and IPv4.
const HEADERS: i32 = 34;

/// Operations (RFC 9669). Loads of 1, 2 and 4 bytes.
const LOAD_BYTE: u8 = 0x71;
const LOAD_HALF: u8 = 0x69;
const LOAD_WORD: u8 = 0x61;
/// 64-bit arithmetic with a number, or with a register.
const ADD: u8 = 0x07;
const ADD_REGISTER: u8 = 0x0f;
const AND: u8 = 0x57;
const SHIFT_LEFT: u8 = 0x67;
const SET: u8 = 0xb7;
const COPY: u8 = 0xbf;
/// From network order to the machine's.
const BIG_ENDIAN: u8 = 0xdc;
/// Jumps: unsigned greater and less, not equal (64 bits, 32 bits), any bit set.
const IF_EQUAL: u8 = 0x15;
const JUMP: u8 = 0x05;
const IF_ABOVE_REGISTER: u8 = 0x2d;
const IF_BELOW: u8 = 0xa5;
const UNLESS_EQUAL: u8 = 0x55;
const UNLESS_EQUAL_32: u8 = 0x56;
const IF_ANY_BIT: u8 = 0x45;
const CALL: u8 = 0x85;
/// Adds a register to eight bytes in memory, atomically.
const ADD_ATOMICALLY: u8 = 0xdb;
const EXIT: u8 = 0x95;

/// Instructions with jumps to the one place where the kernel gets the frame.
#[derive(Default)]
struct Writer {
    code: Vec<Instruction>,
    /// Jumps that leave for it.
    passes: Vec<usize>,
}

impl Writer {
    fn put(&mut self, code: u8, to: u8, from: u8, offset: i16, number: i32) {
        self.code.push(Instruction::new(code, to, from, offset, number));
    }

    fn load(&mut self, code: u8, to: u8, from: u8, offset: i16) {
        self.put(code, to, from, offset, 0);
    }

    fn pass_if(&mut self, code: u8, left: u8, right: u8, number: i32) {
        self.passes.push(self.code.len());
        self.put(code, left, right, 0, number);
    }

    /// Where jumps lead: the answer is `pass`.
    fn finish(mut self, pass: i32) -> Vec<Instruction> {
        let end = self.code.len();
        for at in self.passes {
            let distance = end.saturating_sub(at).saturating_sub(1);
            if let Some(jump) = self.code.get_mut(at) {
                jump.offset = i16::try_from(distance).unwrap_or(0);
            }
        }
        self.code.push(Instruction::new(SET, R0, 0, 0, pass));
        self.code.push(Instruction::new(EXIT, 0, 0, 0, 0));
        self.code
    }
}

/// Gives datagrams to `address` and `port` to the socket of their queue, which stands in the map with
/// this descriptor; everything else, and what came by a queue without a socket, to the kernel. Such
/// datagrams behind a VLAN tag are the kernel's too: they are counted in the map `tagged`.
pub(super) fn redirect(address: Ipv4Addr, port: u16, map: i32, tagged: i32) -> Vec<Instruction> {
    let mut asm = Writer::default();
    begin(&mut asm, XDP_DATA);
    skip_tag(&mut asm);
    datagrams(&mut asm, address, port);
    let count = Instruction::map_value(R1, tagged);
    asm.put(IF_EQUAL, R6, 0, count.len() as i16 + 3, 0);
    asm.code.extend(count);
    asm.put(SET, R2, 0, 0, 1);
    asm.put(ADD_ATOMICALLY, R1, R2, 0, 0);
    asm.pass_if(JUMP, 0, 0, 0);
    asm.load(LOAD_WORD, R2, R1, XDP_QUEUE);
    asm.code.extend(Instruction::map(R1, map));
    asm.put(SET, R3, 0, 0, XDP_PASS);
    asm.put(CALL, 0, 0, 0, REDIRECT_MAP);
    asm.put(EXIT, 0, 0, 0, 0);
    asm.finish(XDP_PASS)
}

/// Drops datagrams to `address` and `port`, which packet sockets have seen by then, so that the kernel
/// does not work on them for nothing.
pub(super) fn drop(address: Ipv4Addr, port: u16) -> Vec<Instruction> {
    let mut asm = Writer::default();
    begin(&mut asm, TC_DATA);
    datagrams(&mut asm, address, port);
    asm.put(SET, R0, 0, 0, TC_DROP);
    asm.put(EXIT, 0, 0, 0, 0);
    asm.finish(TC_NEXT)
}

/// `R2` and `R3` are the frame's start and end, the fields of the context at `data`; the context stays
/// in `R1`. Leaves for the kernel if there is no room for headers; `R5` is the type behind the addresses.
fn begin(asm: &mut Writer, data: i16) {
    asm.load(LOAD_WORD, R2, R1, data);
    asm.load(LOAD_WORD, R3, R1, data + 4);
    headers(asm);
}

/// Leaves for the kernel if there is no room for headers at `R2`; `R5 =` the type in them.
fn headers(asm: &mut Writer) {
    // The verifier wants to see that every byte read is there.
    asm.put(COPY, R4, R2, 0, 0);
    asm.put(ADD, R4, 0, 0, HEADERS);
    asm.pass_if(IF_ABOVE_REGISTER, R4, R3, 0);
    half(asm, R2, 12);
}

/// Moves `R2` beyond one VLAN tag (IEEE 802.1Q, 802.1ad), as if the frame began there; `R6` says so.
fn skip_tag(asm: &mut Writer) {
    asm.put(SET, R6, 0, 0, 0);
    asm.put(IF_EQUAL, R5, 0, 1, 0x8100);
    let jump = asm.code.len();
    asm.put(UNLESS_EQUAL, R5, 0, 0, 0x88a8);
    asm.put(SET, R6, 0, 0, 1);
    asm.put(ADD, R2, 0, 0, 4);
    headers(asm);
    let over = asm.code.len().saturating_sub(jump).saturating_sub(1);
    if let Some(jump) = asm.code.get_mut(jump) {
        jump.offset = i16::try_from(over).unwrap_or(0);
    }
}

/// Leaves for the kernel unless the frame at `R2`, whose type is in `R5`, is a datagram to `address` and
/// `port`.
fn datagrams(asm: &mut Writer, address: Ipv4Addr, port: u16) {
    asm.pass_if(UNLESS_EQUAL, R5, 0, 0x0800);
    asm.load(LOAD_BYTE, R5, R2, ETHERNET + 9);
    asm.pass_if(UNLESS_EQUAL, R5, 0, 17);
    // A first fragment is ours, to be refused and counted; a later one has no port.
    half(asm, R2, ETHERNET + 6);
    asm.pass_if(IF_ANY_BIT, R5, 0, 0x1fff);
    asm.load(LOAD_WORD, R5, R2, ETHERNET + 16);
    asm.put(BIG_ENDIAN, R5, 0, 0, 32);
    asm.pass_if(UNLESS_EQUAL_32, R5, 0, address.to_bits().cast_signed());
    // Past the options of the IPv4 header to the destination port.
    asm.load(LOAD_BYTE, R5, R2, ETHERNET);
    asm.put(AND, R5, 0, 0, 0x0f);
    asm.put(SHIFT_LEFT, R5, 0, 0, 2);
    asm.pass_if(IF_BELOW, R5, 0, 20);
    asm.put(COPY, R4, R2, 0, 0);
    asm.put(ADD_REGISTER, R4, R5, 0, 0);
    asm.put(COPY, R0, R4, 0, 0);
    asm.put(ADD, R0, 0, 0, i32::from(ETHERNET) + 4);
    asm.pass_if(IF_ABOVE_REGISTER, R0, R3, 0);
    half(asm, R4, ETHERNET + 2);
    asm.pass_if(UNLESS_EQUAL, R5, 0, i32::from(port));
}

/// `R5 =` the two bytes at `from + offset`.
fn half(asm: &mut Writer, from: u8, offset: i16) {
    asm.load(LOAD_HALF, R5, from, offset);
    asm.put(BIG_ENDIAN, R5, 0, 0, 16);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_leads_to_the_last_two_instructions() {
        let address = Ipv4Addr::new(10, 99, 0, 2);
        for (code, ends, len) in
            [(redirect(address, 6081, 7, 8), 10, 52), (drop(address, 6081), 8, 32)]
        {
            let mut found = 0;
            for (at, step) in code.iter().enumerate() {
                let jumps = matches!(step.code & 0x07, 5 | 6) && ![CALL, EXIT].contains(&step.code);
                if jumps {
                    let to = at + 1 + usize::try_from(step.offset).unwrap();
                    assert!(to > at + 1 && to <= code.len() - 2, "{at}");
                    found += usize::from(to == code.len() - 2);
                }
            }
            assert_eq!((found, code.len()), (ends, len));
        }
    }
}
