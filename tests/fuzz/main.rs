//! Fuzzing of everything that reads what others send: `cargo test --test fuzz [-- TARGET…]`.
//!
//! Each target runs in a process of its own, so that an abort, a stack overflow or a hang is
//! a finding like a panic: mutated seeds go in, and what comes back with an error or a shape
//! that wasn't seen yet joins the seeds. The input of a finding is kept as a file, which
//! `FUZZ_INPUT=FILE cargo test --test fuzz -- TARGET` runs alone.
//!
//! | variable | meaning |
//! |---|---|
//! | `FUZZ_SECONDS` | how long each target runs; otherwise 5 s, with `SOAK` ten minutes |
//! | `FUZZ_SEED` | the seed of the mutations; otherwise fixed, with `SOAK` the time |
//! | `FUZZ_INPUT` | run this file alone |

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test panics when something is amiss, reads its variables and reports"
)]

mod class;
mod drive;
mod mutate;
mod seeds;
mod targets;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(target) = std::env::var_os(drive::WORKER) {
        worker::run(target.to_str().unwrap());
        return ExitCode::SUCCESS;
    }
    // Options are those of the usual harness, which cargo and its users pass on.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if std::env::args().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = targets::ALL
        .iter()
        .map(|target| target.name)
        .filter(|name| words.is_empty() || words.iter().any(|word| name.contains(word.as_str())))
        .collect();
    drive::run(&names)
}
