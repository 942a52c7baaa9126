//! The face of `nix-store`: one operation, given as a flag, and options in any order.

use std::ffi::OsString;
use std::path::PathBuf;

use super::build_args::{BuildArgs, Links, Print};
use super::low_args::{
    AddArgs, CheckValidityArgs, Command, Contents, GlobalArgs, LowArgs, Query, QueryArgs, ServeArgs,
};
use super::options::{UsageError, Word, Words};

/// Parses the words behind `nix-store`.
pub(crate) fn parse(words: &[OsString]) -> Result<LowArgs, UsageError> {
    let mut words = Words::new(PROGRAM, words);
    let mut face = Face::default();
    let mut global = GlobalArgs::default();
    while let Some(word) = words.next(&mut global)? {
        match word {
            Word::Argument(argument) => face.arguments.push(argument.into()),
            Word::Option(option) => face.option(&option, &mut words)?,
        }
        if let Some(text) = face.print.take() {
            let command = Command::Print(text);
            return Ok(LowArgs { global, command });
        }
    }
    let command = face.command(&words, &global)?;
    Ok(LowArgs { global, command })
}

/// What was seen so far.
#[derive(Default)]
struct Face {
    operation: Option<Operation>,
    arguments: Vec<PathBuf>,
    query: Option<Query>,
    write: bool,
    check_contents: bool,
    print_invalid: bool,
    include_outputs: bool,
    use_output: bool,
    build: BuildFlags,
    print: Option<String>,
}

/// Options of `--realise`.
#[derive(Default)]
struct BuildFlags {
    dry_run: bool,
    check: bool,
    ignore_unknown: bool,
    no_output: bool,
    root: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Serve,
    Add,
    Query,
    Dump,
    Restore,
    LoadDb,
    DumpDb,
    CheckValidity,
    Verify,
    Export,
    Import,
    Init,
    Realise,
    ReadLog,
    Missing(&'static str),
}

impl Face {
    fn option(&mut self, option: &str, words: &mut Words) -> Result<(), UsageError> {
        if let Some(operation) = operation(option) {
            if self.operation.replace(operation).is_some() {
                return Err(words.usage("only one operation may be specified"));
            }
            return Ok(());
        }
        match option {
            "--help" => self.print = Some(HELP.to_owned()),
            "--version" => self.print = Some(version_line(PROGRAM)),
            "--write" if self.is(Operation::Serve) => self.write = true,
            "--check-contents" if self.is(Operation::Verify) => self.check_contents = true,
            "--print-invalid" if self.is(Operation::CheckValidity) => self.print_invalid = true,
            "--include-outputs" if self.is(Operation::Query) => self.include_outputs = true,
            "-u" | "--use-output" if self.is(Operation::Query) => self.use_output = true,
            "--dry-run" if self.is(Operation::Realise) => self.build.dry_run = true,
            "--check" if self.is(Operation::Realise) => self.build.check = true,
            "--ignore-unknown" if self.is(Operation::Realise) => self.build.ignore_unknown = true,
            "--no-output" => self.build.no_output = true,
            "--add-root" => self.build.root = Some(words.value()?.into()),
            // These have no effect on what is here; clients give them out of habit.
            "--ignore-liveness" | "--indirect" => {}
            _ => self.query_flag(option, words)?,
        }
        Ok(())
    }

    fn query_flag(&mut self, option: &str, words: &Words) -> Result<(), UsageError> {
        let query = match option {
            "--outputs" => Query::Outputs,
            "-R" | "--requisites" => Query::Requisites,
            "--references" => Query::References,
            "--referrers" => Query::Referrers,
            "--referrers-closure" => Query::ReferrersClosure,
            "-d" | "--deriver" => Query::Deriver,
            "--valid-derivers" => Query::ValidDerivers,
            "--hash" => Query::Hash,
            "--size" => Query::Size,
            "--resolve" => Query::Resolve,
            _ => return Err(words.unknown()),
        };
        if self.query.is_some_and(|earlier| earlier != query) {
            return Err(words.usage("query type specified twice"));
        }
        self.query = Some(query);
        Ok(())
    }

    /// Whether `operation` is asked for; modifiers may come before the operation.
    fn is(&self, operation: Operation) -> bool {
        self.operation.is_none_or(|given| given == operation)
    }

    fn command(self, words: &Words, global: &GlobalArgs) -> Result<Command, UsageError> {
        let operation = self
            .operation
            .ok_or_else(|| words.usage("no operation specified"))?;
        self.refuse_strays(operation, words)?;
        let only_argument = |arguments: Vec<PathBuf>| {
            <[PathBuf; 1]>::try_from(arguments)
                .map(|[path]| path)
                .map_err(|_| words.usage("only one argument allowed"))
        };
        Ok(match operation {
            Operation::Serve => Command::Serve(ServeArgs::plain(self.write)),
            Operation::Add => Command::Add(AddArgs {
                files: self.arguments,
                name: None,
            }),
            Operation::Query => Command::Query(QueryArgs {
                query: self.query.unwrap_or(Query::Outputs),
                include_outputs: self.include_outputs,
                use_output: self.use_output,
                paths: self.arguments,
            }),
            Operation::Dump => Command::Dump(only_argument(self.arguments)?),
            Operation::Restore => Command::Restore(only_argument(self.arguments)?),
            Operation::LoadDb => Command::LoadDb,
            Operation::DumpDb => Command::DumpDb(self.arguments),
            Operation::CheckValidity => Command::CheckValidity(CheckValidityArgs {
                paths: self.arguments,
                print_invalid: self.print_invalid,
            }),
            Operation::Verify => Command::Verify(match self.check_contents {
                true => Contents::Check,
                false => Contents::Trust,
            }),
            Operation::Export => Command::Export(self.arguments),
            Operation::Import => Command::Import,
            Operation::Init => Command::Init,
            Operation::ReadLog => Command::Log(self.arguments),
            Operation::Realise => Command::Build(self.build.arguments(self.arguments, global)),
            Operation::Missing(name) => {
                return Err(words.usage(format!(
                    "operation '{name}' is not part of this program: use Nix's own nix-store for it"
                )));
            }
        })
    }

    /// Refuses arguments and modifiers that the operation doesn't take.
    fn refuse_strays(&self, operation: Operation, words: &Words) -> Result<(), UsageError> {
        use Operation::{
            CheckValidity, Import, Init, LoadDb, Query as Ask, Realise, Serve, Verify,
        };
        if matches!(operation, Serve | LoadDb | Import | Init | Verify)
            && !self.arguments.is_empty()
        {
            // Nix compat: its words.
            return Err(words.usage("no arguments expected"));
        }
        let stray = [
            (self.write && operation != Serve, "--write"),
            (
                self.check_contents && operation != Verify,
                "--check-contents",
            ),
            (
                self.print_invalid && operation != CheckValidity,
                "--print-invalid",
            ),
            (
                self.include_outputs && operation != Ask,
                "--include-outputs",
            ),
            (self.use_output && operation != Ask, "--use-output"),
            (self.build.dry_run && operation != Realise, "--dry-run"),
            (self.build.check && operation != Realise, "--check"),
            (
                self.build.ignore_unknown && operation != Realise,
                "--ignore-unknown",
            ),
            (self.query.is_some() && operation != Ask, "--query's own"),
        ];
        match stray.into_iter().find(|(is_stray, _)| *is_stray) {
            Some((_, flag)) => Err(words.usage(format!("unknown flag '{flag}'"))),
            None => Ok(()),
        }
    }
}

impl BuildFlags {
    fn arguments(self, targets: Vec<PathBuf>, global: &GlobalArgs) -> BuildArgs {
        BuildArgs {
            targets,
            on: None,
            check: self.check,
            dry_run: self.dry_run,
            links: self.root.map_or(Links::None, Links::Roots),
            print: match self.no_output {
                true => Print::Nothing,
                false => Print::Links,
            },
            ignore_unknown: self.ignore_unknown,
            show_log: !global.no_build_output,
            warn_of_no_root: global.warns_of_no_root,
        }
    }
}

fn operation(option: &str) -> Option<Operation> {
    Some(match option {
        "--serve" => Operation::Serve,
        "-A" | "--add" => Operation::Add,
        "-q" | "--query" => Operation::Query,
        "--dump" => Operation::Dump,
        "--restore" => Operation::Restore,
        "--load-db" => Operation::LoadDb,
        "--dump-db" => Operation::DumpDb,
        "--check-validity" => Operation::CheckValidity,
        "--verify" => Operation::Verify,
        "--export" => Operation::Export,
        "--import" => Operation::Import,
        "--init" => Operation::Init,
        "-r" | "--realise" | "--realize" => Operation::Realise,
        "-l" | "--read-log" => Operation::ReadLog,
        _ => {
            return ABSENT.iter().copied().find_map(|(short, long)| {
                (option == short || option == long).then_some(Operation::Missing(long))
            });
        }
    })
}

/// What `--version` prints.
pub(crate) fn version_line(program: &str) -> String {
    format!("{program} (nix-serve) {}\n", env!("CARGO_PKG_VERSION"))
}

const PROGRAM: &str = "nix-store";

/// Operations of real Nix that aren't here.
const ABSENT: [(&str, &str); 10] = [
    ("", "--add-fixed"),
    ("", "--print-fixed-path"),
    ("", "--delete"),
    ("", "--print-env"),
    ("", "--register-validity"),
    ("", "--gc"),
    ("", "--verify-path"),
    ("", "--repair-path"),
    ("", "--optimise"),
    ("", "--generate-binary-cache-key"),
];

const HELP: &str = "\
Usage: nix-store OPERATION [OPTION…] [PATH…]

Operations:
  --serve [--write]                 speak the serve protocol on stdin and stdout
  -r, --realise [--dry-run] [--check] [--add-root LINK] [--ignore-unknown] DRV[!OUTPUTS]…
                                    build derivations, print the paths of their outputs
  -l, --read-log PATH…              print what builders wrote
  -A, --add FILE…                   add files and directories, print their store paths
  -q, --query QUERY PATH…           --outputs (default), -R|--requisites
                                    [--include-outputs], --references, --referrers,
                                    --referrers-closure, -d|--deriver,
                                    --valid-derivers, --hash, --size, --resolve
  --check-validity [--print-invalid] PATH…
  --dump PATH                       write an archive to stdout
  --restore PATH                    unpack the archive on stdin
  --export PATH…, --import          write and read export streams
  --dump-db [PATH…], --load-db      write and read registrations
  --verify [--check-contents]       compare the database with what is on disk
  --init                            make a store
  --version, --help

Options of all operations:
  --store ADDRESS                   auto, local, a directory, local?root=DIR
  --option NAME VALUE               a setting of nix.conf; also --NAME VALUE
  -j N, -k, -K, --cores N, --timeout SECONDS, --max-silent-time SECONDS
                                    how to build
  -Q, -v, --quiet, --log-format FORMAT

Examples:
  nix-store --serve --write --store local?root=/tmp/store
  nix-store -qR ./result
  nix-store --dump ./dir | nix-store --restore ./copy

More, with a manual page for each: nix-serve --help
";

#[cfg(test)]
mod tests;
