//! From the words of a command line to what is to be done.
//!
//! The order of the checks and the words of refusals are real Nix's: flags first, then
//! the number of arguments.

use std::path::PathBuf;

use nix_base::HashAlgo;

use super::operation::Operation;
use super::{Face, Flag};
use crate::cli::build_args::{BuildArgs, Links, Print};
use crate::cli::gc_args::{GcArgs, GcMode};
use crate::cli::key_args::{KeyCommand, NewKey};
use crate::cli::low_args::{AddArgs, CheckValidityArgs, Command, GlobalArgs, ServeArgs};
use crate::cli::optimise_args::OptimiseArgs;
use crate::cli::options::{UsageError, Words};
use crate::cli::query_args::{Query, QueryArgs};
use crate::cli::store_args::{
    AddFixedArgs, FixedPathArgs, RegisterArgs, StoreOperation, StoreVerifyArgs,
};

type Parsed<T> = Result<T, UsageError>;

/// What `face` asks for.
pub(super) fn command(face: Face, words: &Words, global: &GlobalArgs) -> Parsed<Command> {
    let operation = face
        .operation
        .ok_or_else(|| words.usage("no operation specified"))?;
    let mut given = Given {
        flags: face.flags,
        arguments: face.arguments,
        words,
    };
    Ok(match operation {
        Operation::Serve => {
            let [write] = given.flags(["--write"])?;
            given.no_arguments()?;
            Command::Serve(ServeArgs::plain(write))
        }
        Operation::Add => Command::Add(AddArgs {
            files: given.only_arguments("unknown flag")?,
            name: None,
        }),
        Operation::Query => Command::Query(given.query()?),
        Operation::Dump => Command::Dump(given.one_argument()?),
        Operation::Restore => Command::Restore(given.one_argument()?),
        Operation::LoadDb => {
            given.nothing("unknown flag")?;
            Command::LoadDb
        }
        Operation::DumpDb => Command::DumpDb(given.only_arguments("unknown flag")?),
        Operation::CheckValidity => {
            let [print_invalid] = given.flags(["--print-invalid"])?;
            Command::CheckValidity(CheckValidityArgs {
                paths: given.arguments,
                print_invalid,
            })
        }
        Operation::Export => {
            let [] = given.flags([])?;
            Command::Export(given.arguments)
        }
        Operation::Import => {
            let [] = given.flags([])?;
            given.no_arguments()?;
            Command::Import
        }
        Operation::Init => {
            given.nothing("unknown flag")?;
            Command::Init
        }
        Operation::ReadLog => Command::Log(given.only_arguments("unknown flag")?),
        Operation::Realise => {
            let flags = given.flags(["--dry-run", "--repair", "--check", "--ignore-unknown"])?;
            let links = face.root.map_or(Links::None, Links::Roots);
            let print = match face.no_output {
                true => Print::Nothing,
                false => Print::Links,
            };
            Command::Build(build(flags, given.arguments, links, print, global))
        }
        Operation::Gc => Command::Gc(given.gc()?),
        Operation::Delete => {
            let [ignore_liveness] = given.flags(["--ignore-liveness"])?;
            Command::Gc(GcArgs::new(GcMode::Paths {
                paths: given.arguments,
                ignore_liveness,
            }))
        }
        Operation::Optimise => {
            given.nothing("no arguments expected")?;
            Command::Optimise(OptimiseArgs::default())
        }
        Operation::GenerateKey => Command::Key(KeyCommand::Generate(given.new_key()?)),
        Operation::AddFixed => Command::Store(given.add_fixed()?),
        Operation::PrintFixedPath => Command::Store(given.fixed_path()?),
        Operation::PrintEnv => Command::Store(given.print_env()?),
        Operation::RegisterValidity => Command::Store(given.register_validity()?),
        Operation::Verify => Command::Store(given.verify()?),
        Operation::VerifyPath => {
            let paths = given.only_arguments("no flags expected")?;
            Command::Store(StoreOperation::VerifyPath(paths))
        }
        Operation::RepairPath => {
            let paths = given.only_arguments("no flags expected")?;
            Command::Store(StoreOperation::RepairPath(paths))
        }
    })
}

fn build(
    [dry_run, repair, check, ignore_unknown]: [bool; 4],
    targets: Vec<PathBuf>,
    links: Links,
    print: Print,
    global: &GlobalArgs,
) -> BuildArgs {
    BuildArgs {
        targets,
        on: None,
        check,
        repair,
        dry_run,
        links,
        print,
        ignore_unknown,
        show_log: !global.no_build_output,
        warn_of_no_root: global.warns_of_no_root,
    }
}

/// What is left for one operation.
struct Given<'w> {
    flags: Vec<Flag>,
    arguments: Vec<PathBuf>,
    words: &'w Words,
}

impl Given<'_> {
    /// Which of the flags `known` are given; refuses all others.
    fn flags<const N: usize>(&mut self, known: [&str; N]) -> Parsed<[bool; N]> {
        let mut given = [false; N];
        for flag in std::mem::take(&mut self.flags) {
            match known.iter().position(|name| *name == flag.name) {
                Some(index) => given[index] = true,
                None => return Err(self.unknown(&flag)),
            }
        }
        Ok(given)
    }

    fn unknown(&self, flag: &Flag) -> UsageError {
        self.words.usage(format!("unknown flag '{}'", flag.name))
    }

    fn no_arguments(&self) -> Parsed<()> {
        match self.arguments.is_empty() {
            true => Ok(()),
            false => Err(self.words.usage("no arguments expected")),
        }
    }

    /// The arguments of an operation without flags.
    fn only_arguments(&mut self, problem: &str) -> Parsed<Vec<PathBuf>> {
        match self.flags.is_empty() {
            true => Ok(std::mem::take(&mut self.arguments)),
            false => Err(self.words.usage(problem)),
        }
    }

    fn nothing(&mut self, problem: &str) -> Parsed<()> {
        self.only_arguments(problem).and_then(|arguments| {
            self.arguments = arguments;
            self.no_arguments()
        })
    }

    fn one_argument(&mut self) -> Parsed<PathBuf> {
        let [path] = <[PathBuf; 1]>::try_from(self.only_arguments("unknown flag")?)
            .map_err(|_| self.words.usage("only one argument allowed"))?;
        Ok(path)
    }

    fn text(&self, argument: PathBuf) -> Parsed<String> {
        argument.into_os_string().into_string().map_err(|argument| {
            self.words.usage(format!(
                "the argument '{}' is not UTF-8",
                argument.display()
            ))
        })
    }

    fn algorithm(&self, argument: PathBuf) -> Parsed<HashAlgo> {
        let name = self.text(argument)?;
        // Nix compat: its words.
        name.parse().map_err(|_| {
            self.words.usage(format!(
                "unknown hash algorithm '{name}', expect 'blake3', 'md5', 'sha1', 'sha256', or 'sha512'"
            ))
        })
    }

    fn add_fixed(&mut self) -> Parsed<StoreOperation> {
        let [recursive] = self.flags(["--recursive"])?;
        let mut arguments = std::mem::take(&mut self.arguments).into_iter();
        let algo = arguments
            .next()
            .ok_or_else(|| self.words.usage("first argument must be hash algorithm"))?;
        Ok(StoreOperation::AddFixed(AddFixedArgs {
            algo: self.algorithm(algo)?,
            recursive,
            files: arguments.collect(),
        }))
    }

    fn fixed_path(&mut self) -> Parsed<StoreOperation> {
        let [recursive] = self.flags(["--recursive"])?;
        let arguments = std::mem::take(&mut self.arguments);
        let [algo, hash, name] = <[PathBuf; 3]>::try_from(arguments).map_err(|_| {
            self.words
                .usage("'--print-fixed-path' requires three arguments")
        })?;
        Ok(StoreOperation::PrintFixedPath(FixedPathArgs {
            algo: self.algorithm(algo)?,
            recursive,
            hash: self.text(hash)?,
            name: self.text(name)?,
        }))
    }

    fn print_env(&mut self) -> Parsed<StoreOperation> {
        let drv = self.only_arguments("unknown flag")?;
        let [drv] = <[PathBuf; 1]>::try_from(drv).map_err(|_| {
            self.words
                .usage("'--print-env' requires one derivation store path")
        })?;
        Ok(StoreOperation::PrintEnv(drv))
    }

    fn register_validity(&mut self) -> Parsed<StoreOperation> {
        let [reregister, hash_given] = self.flags(["--reregister", "--hash-given"])?;
        self.no_arguments()?;
        Ok(StoreOperation::RegisterValidity(RegisterArgs {
            reregister,
            hash_given,
        }))
    }

    fn verify(&mut self) -> Parsed<StoreOperation> {
        let [check_contents, repair] = self.flags(["--check-contents", "--repair"])?;
        self.no_arguments()?;
        Ok(StoreOperation::Verify(StoreVerifyArgs {
            check_contents,
            repair,
        }))
    }

    fn new_key(&mut self) -> Parsed<NewKey> {
        let [] = self.flags([])?;
        let arguments = std::mem::take(&mut self.arguments);
        let [name, secret, public] = <[PathBuf; 3]>::try_from(arguments)
            .map_err(|_| self.words.usage("three arguments expected"))?;
        Ok(NewKey {
            name: self.text(name)?,
            secret_file: Some(secret),
            public_file: Some(public),
            // Nix compat: it replaces what is there.
            replace: true,
        })
    }

    fn gc(&mut self) -> Parsed<GcArgs> {
        let mut args = GcArgs::new(GcMode::Delete);
        for flag in std::mem::take(&mut self.flags) {
            match (flag.name.as_str(), flag.value) {
                ("--print-roots", _) => args.mode = GcMode::PrintRoots,
                ("--print-live", _) => args.mode = GcMode::PrintLive,
                ("--print-dead", _) => args.mode = GcMode::PrintDead,
                ("--max-freed", Some(text)) => {
                    let bytes = parse_bytes(&text).map_err(|text| self.words.usage(text))?;
                    args.max_freed = Some(bytes);
                }
                (name, _) => {
                    let text = format!("bad sub-operation '{name}' in GC");
                    return Err(self.words.usage(text));
                }
            }
        }
        self.no_arguments()?;
        if args.max_freed.is_some() && args.mode != GcMode::Delete {
            return Err(self.words.usage(
                "option --max-freed cannot be combined with --print-live, --print-dead, \
                 or --print-roots",
            ));
        }
        Ok(args)
    }

    fn query(mut self) -> Parsed<QueryArgs> {
        let mut args = QueryArgs {
            query: Query::Outputs,
            include_outputs: false,
            use_output: false,
            force_realise: false,
            paths: Vec::new(),
        };
        let mut asked = None;
        for flag in std::mem::take(&mut self.flags) {
            match flag.name.as_str() {
                "--include-outputs" => args.include_outputs = true,
                "-u" | "--use-output" => args.use_output = true,
                "-f" | "--force-realise" | "--force-realize" => args.force_realise = true,
                name => {
                    let query = self.query_type(&flag)?;
                    if asked
                        .replace(query.clone())
                        .is_some_and(|earlier| earlier != query)
                    {
                        return Err(self
                            .words
                            .usage(format!("query type '{name}' conflicts with earlier flag")));
                    }
                }
            }
        }
        args.query = asked.unwrap_or(Query::Outputs);
        args.paths = self.arguments;
        Ok(args)
    }

    fn query_type(&mut self, flag: &Flag) -> Parsed<Query> {
        Ok(match flag.name.as_str() {
            "--outputs" => Query::Outputs,
            "-R" | "--requisites" => Query::Requisites,
            "--references" => Query::References,
            "--referrers" | "--referers" => Query::Referrers,
            "--referrers-closure" | "--referers-closure" => Query::ReferrersClosure,
            "-d" | "--deriver" => Query::Deriver,
            "--valid-derivers" => Query::ValidDerivers,
            "-b" | "--binding" => {
                // Nix compat: the name is the first argument, wherever the flag is.
                if self.arguments.is_empty() {
                    return Err(self.words.usage("expected binding name"));
                }
                let name = self.arguments.remove(0);
                Query::Binding(self.text(name)?)
            }
            "--hash" => Query::Hash,
            "--size" => Query::Size,
            "--tree" => Query::Tree,
            "--graph" => Query::Graph,
            "--graphml" => Query::GraphMl,
            "--resolve" => Query::Resolve,
            "--roots" => Query::Roots,
            _ => return Err(self.unknown(flag)),
        })
    }
}

/// A number of bytes, perhaps in units of 1024 and its powers; less than nothing is 0.
pub(in crate::cli) fn parse_bytes(text: &str) -> Result<u64, String> {
    let unit = text.chars().last().filter(char::is_ascii_alphabetic);
    let shift = match unit.map(|unit| unit.to_ascii_uppercase()) {
        None => 0,
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        // Nix compat: its words.
        Some(unit) => return Err(format!("invalid unit specifier '{unit}'")),
    };
    let digits = match unit {
        Some(_) => &text[..text.len() - 1],
        None => text,
    };
    let number: i64 = digits
        .parse()
        .map_err(|_| format!("'{digits}' is not an integer"))?;
    let number = u64::try_from(number).unwrap_or(0);
    Ok(number.saturating_mul(1 << shift))
}
