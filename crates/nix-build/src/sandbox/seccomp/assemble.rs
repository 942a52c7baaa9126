//! A small assembler of classic BPF.
//!
//! Code is put together from the leaves of a decision tree to its root, so that every jump is
//! forward and its distance known: no labels.

/// One instruction, as the kernel takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    /// What to do.
    pub(super) code: u16,
    /// Instructions to pass over if the comparison holds.
    pub(super) jump_true: u8,
    /// The same if it doesn't.
    pub(super) jump_false: u8,
    /// The constant.
    pub(super) value: u32,
}

/// Instructions that end with an answer, whatever way is taken through them.
pub(super) type Code = Vec<Instruction>;

/// Load 32 bits of the description of the call.
pub(super) const LOAD: u16 = 0x20;
/// Jump by the constant.
pub(super) const JUMP: u16 = 0x05;
/// Is the loaded value the constant?
pub(super) const EQUAL: u16 = 0x15;
/// Is it as large, without sign?
pub(super) const NOT_LESS: u16 = 0x35;
/// Has it any of the constant's bits?
pub(super) const ANY_BIT: u16 = 0x45;
/// Keep only the constant's bits of it.
pub(super) const AND: u16 = 0x54;
/// Answer the constant.
pub(super) const RETURN: u16 = 0x06;

/// Where the description of a call has its number.
pub(super) const NUMBER: u32 = 0;
/// Where it has the architecture.
pub(super) const ARCHITECTURE: u32 = 4;

/// Where it has the low half of an argument.
pub(super) const fn argument(index: u8) -> u32 {
    const FIRST: u32 = 16;
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    FIRST + 8 * index as u32 + low_half
}

/// An instruction that doesn't jump.
pub(super) const fn plain(code: u16, value: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        value,
    }
}

/// The answer `value`.
pub(super) fn answer(value: u32) -> Code {
    vec![plain(RETURN, value)]
}

/// Compares: `yes` if it holds, else `no`.
pub(super) fn branch(test: u16, value: u32, yes: Code, no: Code) -> Code {
    // `no` comes first. Distances of comparisons have 8 bits, those of a plain jump 32.
    let mut code = match u8::try_from(no.len()) {
        Ok(distance) => vec![Instruction {
            code: test,
            jump_true: distance,
            jump_false: 0,
            value,
        }],
        Err(_) => vec![
            Instruction {
                code: test,
                jump_true: 0,
                jump_false: 1,
                value,
            },
            plain(JUMP, u32::try_from(no.len()).unwrap_or(u32::MAX)),
        ],
    };
    code.extend(no);
    code.extend(yes);
    code
}

/// Finds the range that the loaded value is in: each has its first value and its code, they
/// ascend, and the first begins at 0.
pub(super) fn search(ranges: &[(u32, Code)]) -> Code {
    match ranges {
        [] => Vec::new(),
        [(_, code)] => code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            branch(NOT_LESS, high[0].0, search(high), search(low))
        }
    }
}
