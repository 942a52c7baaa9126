//! The face of `nix-copy-closure`: `[--to|--from] [options] [user@]host paths…`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::low_args::{Command, CopyArgs, Direction, GlobalArgs, LowArgs};
use super::options::{UsageError, Word, Words};
use super::store_face::version_line;

/// Parses the words behind `nix-copy-closure`.
pub(crate) fn parse(words: &[OsString]) -> Result<LowArgs, UsageError> {
    let mut words = Words::new(PROGRAM, words);
    let mut face = Face::default();
    let mut global = GlobalArgs::default();
    while let Some(word) = words.next(&mut global)? {
        match word {
            Word::Argument(argument) => face.argument(argument, &words)?,
            Word::Option(option) => match option.as_str() {
                "--help" => {
                    let command = Command::Print(HELP.to_owned());
                    return Ok(LowArgs { global, command });
                }
                "--version" => {
                    let command = Command::Print(version_line(PROGRAM));
                    return Ok(LowArgs { global, command });
                }
                option => face.option(option, &words)?,
            },
        }
    }
    global.warnings.append(&mut face.warnings);
    let command = face.command(&words)?;
    Ok(LowArgs { global, command })
}

#[derive(Default)]
struct Face {
    direction: Option<Direction>,
    host: Option<String>,
    paths: Vec<PathBuf>,
    compress: bool,
    include_outputs: bool,
    substitute: bool,
    dry_run: bool,
    warnings: Vec<String>,
}

impl Face {
    fn argument(&mut self, argument: OsString, words: &Words) -> Result<(), UsageError> {
        if self.host.is_some() {
            self.paths.push(argument.into());
            return Ok(());
        }
        let host = argument.into_string().map_err(|host| {
            words.usage(format!("the host name '{}' is not UTF-8", host.display()))
        })?;
        self.host = Some(host);
        Ok(())
    }

    fn option(&mut self, option: &str, words: &Words) -> Result<(), UsageError> {
        match option {
            "--to" => self.direction = Some(Direction::To),
            "--from" => self.direction = Some(Direction::From),
            "--gzip" => self.compress = true,
            "--bzip2" | "--xz" => {
                // Nix compat: its words.
                let text = format!("'{option}' is not implemented, falling back to gzip");
                self.warnings.push(text);
                self.compress = true;
            }
            "--include-outputs" => self.include_outputs = true,
            "-s" | "--use-substitutes" => self.substitute = true,
            "--dry-run" => self.dry_run = true,
            "--show-progress" => {
                let text = "'--show-progress' is not implemented".to_owned();
                self.warnings.push(text);
            }
            _ => return Err(words.unknown()),
        }
        Ok(())
    }

    fn command(self, words: &Words) -> Result<Command, UsageError> {
        let host = self
            .host
            .ok_or_else(|| words.usage("no host name specified"))?;
        let address = match host.contains("://") || host.starts_with("exec:") {
            true => host,
            false => format!("ssh://{host}"),
        };
        Ok(Command::Copy(CopyArgs {
            direction: self.direction.unwrap_or(Direction::To),
            address,
            paths: self.paths,
            dry_run: self.dry_run,
            include_outputs: self.include_outputs,
            substitute: self.substitute,
            recursive: true,
            json: false,
            compress: self.compress,
        }))
    }
}

const PROGRAM: &str = "nix-copy-closure";

const HELP: &str = "\
Usage: nix-copy-closure [--to | --from] [OPTION…] [USER@]HOST PATH…

Copies PATHs and everything they refer to, to HOST (default) or from it, over ssh.

Options:
  --to, --from             the direction
  --gzip                   let ssh compress
  --include-outputs        copy the outputs of derivations too
  -s, --use-substitutes    HOST may fetch from its substituters
  --dry-run                say what would be copied, and copy nothing
  --store ADDRESS          the store at this end
  --option NAME VALUE, -v, --quiet, --log-format FORMAT, --version, --help

Examples:
  nix-copy-closure --to alice@server ./result
  nix-copy-closure --from server /nix/store/…-hello-2.12

Options for ssh come from NIX_SSHOPTS.
";

#[cfg(test)]
mod tests;
