//! The face of `nix-store`: one operation, given as a flag, and options in any order.

mod command;
mod help;
mod operation;

use std::ffi::OsString;
use std::path::PathBuf;

use super::low_args::{Command, GlobalArgs, LowArgs};
use super::options::{UsageError, Word, Words};
pub(super) use command::parse_bytes;
use operation::Operation;

/// Parses the words behind `nix-store`. `--stdin` takes more arguments from `piped`.
pub(crate) fn parse(
    words: &[OsString],
    piped: impl FnOnce() -> Vec<PathBuf>,
) -> Result<LowArgs, UsageError> {
    let mut words = Words::new(PROGRAM, words);
    let mut face = Face::default();
    let mut global = GlobalArgs::default();
    while let Some(word) = words.next(&mut global)? {
        match word {
            Word::Argument(argument) => face.arguments.push(argument.into()),
            Word::Option(option) => face.option(option, &mut words)?,
        }
        if let Some(text) = face.print.take() {
            let command = Command::Print(text);
            return Ok(LowArgs { global, command });
        }
    }
    if let Some(at) = face.piped_at
        && face.operation.is_some_and(Operation::takes_piped_arguments)
    {
        // Nix compat: in the place of the option.
        face.arguments.splice(at..at, piped());
    }
    let command = command::command(face, &words, &global)?;
    Ok(LowArgs { global, command })
}

/// What was seen so far.
#[derive(Default)]
struct Face {
    operation: Option<Operation>,
    arguments: Vec<PathBuf>,
    flags: Vec<Flag>,
    root: Option<PathBuf>,
    no_output: bool,
    /// How many arguments stand in front of `--stdin`.
    piped_at: Option<usize>,
    print: Option<String>,
}

/// An option that some operation may know.
struct Flag {
    /// As typed.
    name: String,
    /// The next word, if it is an option with a value.
    value: Option<String>,
}

impl Face {
    fn option(&mut self, option: String, words: &mut Words) -> Result<(), UsageError> {
        if let Some(operation) = Operation::from_option(&option) {
            let earlier = self.operation.replace(operation);
            if earlier.is_some_and(|earlier| earlier != operation) {
                return Err(words.usage("only one operation may be specified"));
            }
            return Ok(());
        }
        match option.as_str() {
            "--help" => self.print = Some(help::HELP.to_owned()),
            "--version" => self.print = Some(version_line(PROGRAM)),
            "--no-output" => self.no_output = true,
            "--add-root" => self.root = Some(words.own_value()?.into()),
            "--stdin" => {
                self.piped_at.get_or_insert(self.arguments.len());
            }
            // Without effect since 2.5; scripts give it out of habit.
            "--indirect" => {}
            _ => {
                let value = match TAKES_VALUE.contains(&option.as_str()) {
                    true => Some(words.own_value()?),
                    false => None,
                };
                let name = option;
                self.flags.push(Flag { name, value });
            }
        }
        Ok(())
    }
}

/// What `--version` prints.
pub(crate) fn version_line(program: &str) -> String {
    format!("{program} (nix-serve) {}\n", env!("CARGO_PKG_VERSION"))
}

const PROGRAM: &str = "nix-store";
/// Options of single operations that have a value.
const TAKES_VALUE: [&str; 3] = ["--max-freed", "--max-links", "--max-atime"];

#[cfg(test)]
mod tests;
