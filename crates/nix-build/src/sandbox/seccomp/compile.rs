//! From the policy to a program for the kernel.
//!
//! ```text
//! architecture? ─ x86_64 ─ bit 30 of the number? ─ no ── search the native table
//!               │                                └ yes ─ search the table of x32
//!               ├ i386 ─── search its table
//!               └ other ── kill
//! ```
//!
//! On the way to the answer of most calls nothing but architecture and number is loaded: since
//! Linux 5.11 the kernel remembers such answers and doesn't run the program again.

use std::collections::BTreeMap;

use super::assemble::{
    AND, ANY_BIT, ARCHITECTURE, Code, EQUAL, LOAD, NUMBER, answer, argument, branch, plain, search,
};
use super::policy::{CREATING, FORBIDDEN_MODE, Rule, UNKNOWN};

/// The numbers of one architecture with their rules.
pub(super) type Table = BTreeMap<u32, Rule>;

/// One architecture that a kernel runs programs of.
pub(super) struct Architecture {
    /// What the kernel calls it.
    pub(super) audit: u32,
    /// Its calls.
    pub(super) table: Table,
    /// Its calls with bit 30 set, which is then left out of the number.
    pub(super) x32: Option<Table>,
}

/// The program for these architectures; all others are killed.
pub(super) fn compile(architectures: &[Architecture]) -> Code {
    let mut choice = answer(libc::SECCOMP_RET_KILL_PROCESS);
    for architecture in architectures.iter().rev() {
        choice = branch(EQUAL, architecture.audit, calls(architecture), choice);
    }
    after(plain(LOAD, ARCHITECTURE), choice)
}

fn calls(architecture: &Architecture) -> Code {
    let native = search(&ranges(&architecture.table));
    let choice = match &architecture.x32 {
        None => native,
        Some(table) => {
            let x32 = after(plain(AND, !X32_BIT), search(&ranges(table)));
            branch(ANY_BIT, X32_BIT, x32, native)
        }
    };
    after(plain(LOAD, NUMBER), choice)
}

/// Neighbours with the same rule together, from 0 to the end of all numbers.
fn ranges(table: &Table) -> Vec<(u32, Code)> {
    let mut starts: Vec<(u32, Rule)> = vec![(0, UNKNOWN)];
    let mut next = 0;
    for (&number, &rule) in table {
        if number > next {
            starts.push((next, UNKNOWN));
        }
        starts.push((number, rule));
        next = number.saturating_add(1);
    }
    starts.push((next, UNKNOWN));

    let mut merged: Vec<(u32, Rule)> = Vec::new();
    for (start, rule) in starts {
        match merged.last_mut() {
            Some((_, last)) if *last == rule => {}
            Some((at, last)) if *at == start => *last = rule,
            _ => merged.push((start, rule)),
        }
    }
    merged
        .into_iter()
        .map(|(start, rule)| (start, verdict(rule)))
        .collect()
}

fn verdict(rule: Rule) -> Code {
    match rule {
        Rule::Allow => answer(libc::SECCOMP_RET_ALLOW),
        Rule::Fail(errno) => answer(libc::SECCOMP_RET_ERRNO | u32::from(errno)),
        Rule::PlainMode { mode } => plain_mode(mode),
        Rule::PlainModeIfCreating { flags, mode } => {
            let allow = answer(libc::SECCOMP_RET_ALLOW);
            after(
                plain(LOAD, argument(flags)),
                branch(ANY_BIT, CREATING, plain_mode(mode), allow),
            )
        }
    }
}

fn plain_mode(mode: u8) -> Code {
    let refuse = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned());
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    after(
        plain(LOAD, argument(mode)),
        branch(ANY_BIT, FORBIDDEN_MODE, refuse, allow),
    )
}

fn after(first: super::assemble::Instruction, mut rest: Code) -> Code {
    rest.insert(0, first);
    rest
}

/// Marks calls of the x32 interface on x86_64.
pub(super) const X32_BIT: u32 = 1 << 30;
