//! Development tasks, run as `cargo xtask COMMAND`; `cargo xtask --help` lists them.
//!
//! Each command is a file of its own. [`mod@env`] alone reads the environment and knows where the
//! workspace is.

// Tasks report to the person or the log that ran them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod bench;
mod bless;
mod ci;
mod delay_proxy;
mod demo;
mod dist;
mod env;
mod nar;
mod peers;
mod process;
mod soak;
mod test;
mod tidy;
mod vectors;
mod verify_store;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        None | Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => {
            print!("{}", help());
            Ok(())
        }
        Some(lexopt::Arg::Value(name)) => {
            let name = name.to_string_lossy().into_owned();
            let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
                bail!("unknown command '{name}'; 'cargo xtask --help' lists the commands");
            };
            let args = args::Args::parse(parser, command.options)?;
            if args.wants_help() {
                println!("{}", command.usage());
                return Ok(());
            }
            (command.run)(&args)
        }
        Some(other) => Err(other.unexpected().into()),
    }
}

/// One task.
struct Command {
    name: &'static str,
    /// How its arguments are written in the help text.
    synopsis: &'static str,
    /// Options that it takes: a name that ends in `=` takes a value.
    options: &'static [&'static str],
    /// One line for the help text; empty for tasks that only other tasks start.
    line: &'static str,
    run: fn(&args::Args) -> Result<()>,
}

impl Command {
    fn usage(&self) -> String {
        format!(
            "usage: cargo xtask {} {}\n{}",
            self.name, self.synopsis, self.line
        )
    }
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND [ARGUMENTS]\n\n");
    for command in COMMANDS.iter().filter(|command| !command.line.is_empty()) {
        text.push_str(&format!(
            "  {} {}\n      {}\n",
            command.name, command.synopsis, command.line
        ));
    }
    text
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        synopsis: "[--keep]",
        options: &["keep"],
        line: "copy a closure between two fresh stores and tell what happened",
        run: demo::run,
    },
    Command {
        name: "test",
        synopsis: "[AREA…] [--require 2.8,2.26]",
        options: &["require="],
        line: "set up the real Nix peers, then run every test (or one crate or area)",
        run: test::run,
    },
    Command {
        name: "peers",
        synopsis: "[VERSION…] [--require 2.8,2.26]",
        options: &["require="],
        line: "make the real Nix releases that the tests compare with, and list them",
        run: peers::run,
    },
    Command {
        name: "bench",
        synopsis: "[AREA…] [--runs N] [--dir DIR] [--program FILE] [--quick]",
        options: &["runs=", "dir=", "program=", "quick"],
        line: "measure nix-serve beside real Nix, alternating, and print ratios",
        run: bench::run,
    },
    Command {
        name: "tidy",
        synopsis: "",
        options: &[],
        line: "check the house rules: crate arrows, file sizes, docs, forbidden words",
        run: tidy::run,
    },
    Command {
        name: "bless",
        synopsis: "",
        options: &[],
        line: "run the tests and accept changed snapshots",
        run: bless::run,
    },
    Command {
        name: "vectors",
        synopsis: "",
        options: &[],
        line: "run the tests that read golden vectors and count the cases",
        run: vectors::run,
    },
    Command {
        name: "soak",
        synopsis: "[AREA…]",
        options: &[],
        line: "run the long form of the crash and load tests",
        run: soak::run,
    },
    Command {
        name: "verify-store",
        synopsis: "DIR",
        options: &[],
        line: "check a store with code of its own: files, hashes, references, database",
        run: verify_store::run,
    },
    Command {
        name: "dist",
        synopsis: "",
        options: &[],
        line: "build one static nix-serve program, prove that it is static, print its size",
        run: dist::run,
    },
    Command {
        name: "ci",
        synopsis: "",
        options: &[],
        line: "everything that a change has to pass: format, lints, tidy, docs, tests",
        run: ci::run,
    },
    Command {
        name: "delay-proxy",
        synopsis: "RTT_MS COMMAND ARG…",
        options: &[],
        line: "run a command behind pipes that delay all bytes by half a round trip each way",
        run: delay_proxy::run,
    },
    Command {
        name: "bare-walk",
        synopsis: "DIR",
        options: &[],
        line: "",
        run: bench::bare_walk::run,
    },
];
