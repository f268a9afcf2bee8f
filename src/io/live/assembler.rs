//! Classic BPF, written as Rust: instructions with labels. Jumps go forward only, as the kernel
//! wants them; how far does not matter. What programs do is written elsewhere.

use libc::sock_filter;

/// A place that is jumped to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

/// A test of the accumulator against a constant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    /// Equal.
    Equals(u32),
    /// Any of these bits is set.
    AnyBit(u32),
    /// Greater, as unsigned numbers.
    Above(u32),
}

/// A program in the making. `A` is the accumulator, `X` the index register, `M` the scratch memory.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<sock_filter>,
    places: Vec<Option<usize>>,
    /// Where unconditional jumps stand whose distance is not known yet.
    jumps: Vec<(usize, Label)>,
}

const fn bits(parts: &[u32]) -> u16 {
    let mut all = 0;
    let mut at = 0;
    while at < parts.len() {
        all |= parts[at];
        at += 1;
    }
    all as u16
}

impl Assembler {
    fn push(&mut self, code: u16, k: u32) {
        self.code.push(sock_filter { code, jt: 0, jf: 0, k });
    }

    /// `A = byte at k`.
    pub(super) fn load_byte(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_LD, libc::BPF_B, libc::BPF_ABS]), k);
    }

    /// `A = two bytes at k`.
    pub(super) fn load_half(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_LD, libc::BPF_H, libc::BPF_ABS]), k);
    }

    /// `A = four bytes at k`.
    pub(super) fn load_word(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_LD, libc::BPF_W, libc::BPF_ABS]), k);
    }

    /// `A = byte at X + k`.
    pub(super) fn load_byte_at(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_LD, libc::BPF_B, libc::BPF_IND]), k);
    }

    /// `A = two bytes at X + k`.
    pub(super) fn load_half_at(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_LD, libc::BPF_H, libc::BPF_IND]), k);
    }

    /// `A = four bytes at X + k`.
    pub(super) fn load_word_at(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_LD, libc::BPF_W, libc::BPF_IND]), k);
    }

    /// `X = 4 * (low half of the byte at k)`: the length of the IPv4 header there.
    pub(super) fn header_len_to_x(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_LDX, libc::BPF_B, libc::BPF_MSH]), k);
    }

    /// `A = k`.
    pub(super) fn set(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_LD, libc::BPF_IMM]), k);
    }

    /// `A = M[slot]`.
    pub(super) fn recall(&mut self, slot: u32) {
        self.push(bits(&[libc::BPF_LD, libc::BPF_MEM]), slot);
    }

    /// `X = M[slot]`.
    pub(super) fn recall_x(&mut self, slot: u32) {
        self.push(bits(&[libc::BPF_LDX, libc::BPF_MEM]), slot);
    }

    /// `M[slot] = A`.
    pub(super) fn keep(&mut self, slot: u32) {
        self.push(bits(&[libc::BPF_ST]), slot);
    }

    /// `X = A`.
    pub(super) fn copy_to_x(&mut self) {
        self.push(bits(&[libc::BPF_MISC, libc::BPF_TAX]), 0);
    }

    /// `A = X`.
    pub(super) fn copy_x(&mut self) {
        self.push(bits(&[libc::BPF_MISC, libc::BPF_TXA]), 0);
    }

    /// `A = A operation k`; the operation is one of libc's `BPF_ADD` and so on.
    pub(super) fn apply(&mut self, operation: u32, k: u32) {
        self.push(bits(&[libc::BPF_ALU, operation, libc::BPF_K]), k);
    }

    /// `A = A operation X`.
    pub(super) fn apply_x(&mut self, operation: u32) {
        self.push(bits(&[libc::BPF_ALU, operation, libc::BPF_X]), 0);
    }

    /// Ends with `k`.
    pub(super) fn answer(&mut self, k: u32) {
        self.push(bits(&[libc::BPF_RET, libc::BPF_K]), k);
    }

    /// Ends with `A`.
    pub(super) fn answer_a(&mut self) {
        self.push(bits(&[libc::BPF_RET, libc::BPF_A]), 0);
    }

    /// A label that is placed later.
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len().saturating_sub(1))
    }

    /// The label is here.
    pub(super) fn place(&mut self, label: Label) {
        let here = self.code.len();
        if let Some(place) = self.places.get_mut(label.0) {
            *place = Some(here);
        }
    }

    /// Goes to the label.
    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(bits(&[libc::BPF_JMP, libc::BPF_JA]), 0);
    }

    /// Goes to the label if the test is true.
    pub(super) fn jump_if(&mut self, test: Test, label: Label) {
        self.test(test, 0, 1);
        self.jump(label);
    }

    /// Goes to the label if the test is false.
    pub(super) fn jump_unless(&mut self, test: Test, label: Label) {
        self.test(test, 1, 0);
        self.jump(label);
    }

    fn test(&mut self, test: Test, jt: u8, jf: u8) {
        let (operation, k) = match test {
            Test::Equals(k) => (libc::BPF_JEQ, k),
            Test::AnyBit(k) => (libc::BPF_JSET, k),
            Test::Above(k) => (libc::BPF_JGT, k),
        };
        let code = bits(&[libc::BPF_JMP, operation, libc::BPF_K]);
        self.code.push(sock_filter { code, jt, jf, k });
    }

    /// The program. Jumps whose label was never placed, or stands before them, stay at distance
    /// zero; the kernel's checker and the tests of the programs see to it that there are none.
    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        for (at, label) in self.jumps {
            let place = self.places.get(label.0).copied().flatten();
            let distance = place.and_then(|place| place.checked_sub(at.saturating_add(1)));
            if let (Some(jump), Some(distance)) = (self.code.get_mut(at), distance) {
                jump.k = u32::try_from(distance).unwrap_or(0);
            }
        }
        self.code
    }
}

/// Runs programs as the kernel does, for tests.
#[cfg(test)]
pub(super) mod machine {
    use super::{bits, sock_filter};

    /// What the program answers for these bytes; zero where it reads beyond them.
    pub(in super::super) fn run(program: &[sock_filter], bytes: &[u8]) -> u32 {
        let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
        loop {
            let step = program[at];
            at += 1;
            let class = u32::from(step.code) & 0x07;
            match class {
                libc::BPF_LD | libc::BPF_LDX => {
                    let Some(value) = load(step, x, bytes, &memory) else { return 0 };
                    if class == libc::BPF_LD { a = value } else { x = value }
                }
                libc::BPF_ST => memory[step.k as usize] = a,
                libc::BPF_ALU => a = compute(step, a, x),
                libc::BPF_JMP => at += jump(step, a),
                libc::BPF_RET if u32::from(step.code) & 0x18 == libc::BPF_A => return a,
                libc::BPF_RET => return step.k,
                _ if step.code == bits(&[libc::BPF_MISC, libc::BPF_TAX]) => x = a,
                _ => a = x,
            }
        }
    }

    fn load(step: sock_filter, x: u32, bytes: &[u8], memory: &[u32; 16]) -> Option<u32> {
        let code = u32::from(step.code);
        let at = match code & 0xe0 {
            libc::BPF_IMM => return Some(step.k),
            libc::BPF_MEM => return Some(memory[step.k as usize]),
            libc::BPF_IND => x.checked_add(step.k)? as usize,
            _ => step.k as usize,
        };
        let size = match code & 0x18 {
            libc::BPF_B => 1,
            libc::BPF_H => 2,
            _ => 4,
        };
        let value =
            bytes.get(at..at + size)?.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        Some(if code & 0xe0 == libc::BPF_MSH { (value & 0xf) * 4 } else { value })
    }

    fn compute(step: sock_filter, a: u32, x: u32) -> u32 {
        let code = u32::from(step.code);
        let by = if code & libc::BPF_X == 0 { step.k } else { x };
        match code & 0xf0 {
            libc::BPF_ADD => a.wrapping_add(by),
            libc::BPF_MUL => a.wrapping_mul(by),
            libc::BPF_AND => a & by,
            libc::BPF_LSH => a << by,
            libc::BPF_RSH => a >> by,
            libc::BPF_XOR => a ^ by,
            other => panic!("operation {other:x} is not used"),
        }
    }

    fn jump(step: sock_filter, a: u32) -> usize {
        let taken = match u32::from(step.code) & 0xf0 {
            libc::BPF_JA => return step.k as usize,
            libc::BPF_JEQ => a == step.k,
            libc::BPF_JSET => a & step.k != 0,
            _ => a > step.k,
        };
        usize::from(if taken { step.jt } else { step.jf })
    }
}
