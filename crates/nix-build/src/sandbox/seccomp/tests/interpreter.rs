//! What the kernel does with a filter, in so far as ours need it.

use crate::sandbox::seccomp::assemble::{
    AND, ANY_BIT, EQUAL, Instruction, JUMP, LOAD, NOT_LESS, RETURN,
};

/// What the kernel tells a filter about a call.
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) audit: u32,
    pub(super) arguments: [u64; 6],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Fail(u16),
    Kill,
}

pub(super) struct Trace {
    pub(super) verdict: Verdict,
    /// Where it loaded from.
    pub(super) loads: Vec<u32>,
    pub(super) steps: usize,
}

pub(super) fn run(program: &[Instruction], call: &Call) -> Trace {
    let data = describe(call);
    let (mut at, mut value, mut loads, mut steps) = (0usize, 0u32, Vec::new(), 0);
    loop {
        let instruction = program[at];
        steps += 1;
        at += 1;
        let constant = instruction.value;
        let compare = |holds: bool| match holds {
            true => usize::from(instruction.jump_true),
            false => usize::from(instruction.jump_false),
        };
        match instruction.code {
            LOAD => {
                assert_eq!(constant % 4, 0, "misaligned");
                let offset = constant as usize;
                value = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
                loads.push(constant);
            }
            AND => value &= constant,
            JUMP => at += constant as usize,
            EQUAL => at += compare(value == constant),
            NOT_LESS => at += compare(value >= constant),
            ANY_BIT => at += compare(value & constant != 0),
            RETURN => {
                return Trace {
                    verdict: verdict(constant),
                    loads,
                    steps,
                };
            }
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

fn describe(call: &Call) -> Vec<u8> {
    let mut data = Vec::new();
    data.extend(call.number.to_le_bytes());
    data.extend(call.audit.to_le_bytes());
    data.extend(u64::MAX.to_le_bytes());
    for argument in call.arguments {
        data.extend(argument.to_le_bytes());
    }
    data
}

fn verdict(answer: u32) -> Verdict {
    match answer & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ALLOW => Verdict::Allow,
        libc::SECCOMP_RET_KILL_PROCESS => Verdict::Kill,
        libc::SECCOMP_RET_ERRNO => {
            Verdict::Fail(u16::try_from(answer & libc::SECCOMP_RET_DATA).unwrap())
        }
        other => panic!("unexpected answer {other:#x}"),
    }
}
