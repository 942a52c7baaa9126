//! The face of `nix-collect-garbage`.

use std::ffi::OsString;

use super::low_args::{Command, GlobalArgs, LowArgs};
use super::options::{UsageError, Word, Words};
use super::store_args::{CollectGarbageArgs, OldGenerations};
use super::store_face::{parse_bytes, version_line};

/// Parses the words behind `nix-collect-garbage`.
pub(crate) fn parse(words: &[OsString]) -> Result<LowArgs, UsageError> {
    let mut words = Words::new(PROGRAM, words);
    let mut global = GlobalArgs::default();
    let mut args = CollectGarbageArgs {
        generations: OldGenerations::Keep,
        dry_run: false,
        max_freed: None,
    };
    while let Some(word) = words.next(&mut global)? {
        let option = match word {
            Word::Option(option) => option,
            // Nix compat: its words.
            Word::Argument(argument) => {
                let text = format!("unexpected argument '{}'", argument.display());
                return Err(words.usage(text));
            }
        };
        match option.as_str() {
            "--help" => return Ok(print(global, HELP.to_owned())),
            "--version" => return Ok(print(global, version_line(PROGRAM))),
            // Nix compat: an age counts, wherever it stands.
            "-d" | "--delete-old" => {
                if args.generations == OldGenerations::Keep {
                    args.generations = OldGenerations::All;
                }
            }
            "--delete-older-than" => {
                args.generations = OldGenerations::OlderThan(words.own_value()?);
            }
            "--dry-run" => args.dry_run = true,
            "--max-freed" => {
                let bytes = parse_bytes(&words.own_value()?);
                args.max_freed = Some(bytes.map_err(|text| words.usage(text))?);
            }
            _ => return Err(words.usage(format!("unrecognised flag '{option}'"))),
        }
    }
    let command = Command::CollectGarbage(args);
    Ok(LowArgs { global, command })
}

fn print(global: GlobalArgs, text: String) -> LowArgs {
    let command = Command::Print(text);
    LowArgs { global, command }
}

const PROGRAM: &str = "nix-collect-garbage";

const HELP: &str = "\
Usage: nix-collect-garbage [OPTION…]

Deletes what no root needs.

Options:
  -d, --delete-old          first remove all generations of profiles but the current ones
  --delete-older-than N     first remove generations that ceased to be current N days ago
                            or earlier, given as Nd
  --dry-run                 say which generations would be removed and how many paths are
                            garbage already, and delete nothing
  --max-freed BYTES         stop after so many bytes; K, M, G and T are understood
  --store ADDRESS           the store
  --option NAME VALUE, -v, --quiet, --log-format FORMAT, --version, --help

Examples:
  nix-collect-garbage
  nix-collect-garbage --delete-older-than 30d
  nix-collect-garbage --max-freed 10G
";

#[cfg(test)]
mod tests;
