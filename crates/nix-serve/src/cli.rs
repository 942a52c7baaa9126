//! The command line: argv → `LowArgs` → `Context` → `run` → exit status.
//!
//! One program with three faces, told apart by the name it is called by. This layer alone
//! reads the environment and the configuration, installs the log and the signal handlers,
//! and prints.

mod address;
mod build_args;
mod build_config;
mod clap_face;
mod collect_garbage_face;
mod commands;
mod config;
mod context;
mod copy_closure_face;
mod drv_args;
mod env;
mod gc_args;
mod gc_root;
mod inspect_args;
mod key_args;
mod log_format;
mod logging;
mod low_args;
mod new_file;
mod optimise_args;
mod options;
mod output;
mod path_arg;
mod profiles;
mod progress;
mod query_args;
mod quota_args;
mod remote;
mod repair_sources;
mod report;
mod run;
mod sealed;
mod secret_keys;
mod serve_builds;
mod setting_names;
mod settings;
mod signals;
mod signed_paths;
mod sizes;
mod stderr_queue;
mod store_args;
mod store_face;
mod supervise_face;
mod upkeep_settings;
mod verify_args;

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use context::{Context, SUPERVISE};
use env::Environment;
use low_args::{Command, GlobalArgs, LowArgs};
use report::Colour;

/// The whole program: runs what the command line of this process says.
#[must_use]
pub fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let mut environment = Environment::of_process();
    let colour = Colour::of_stderr(&environment);
    let low_args = match parse(&argv) {
        Ok(low_args) => low_args,
        Err(Refusal::Clap(error)) => return report::finish_clap(&error, colour),
        Err(Refusal::Usage(error)) => return report::finish_usage(&error, colour),
    };
    if let Command::Serve(args) = &low_args.command
        && !args.is_plain()
    {
        if let Err(error) = sealed::drop_environment() {
            return report::finish(Err(error), colour);
        }
        environment = Environment::of_process();
    }
    logging::install(&low_args.global, colour);
    for warning in &low_args.global.warnings {
        tracing::warn!("{warning}");
    }
    let context = Context::new(low_args.global, environment);
    report::finish(run::run(low_args.command, &context), colour)
}

/// A command line that isn't understood, or a request for help.
enum Refusal {
    Clap(clap::Error),
    Usage(options::UsageError),
}

/// `serve` with nothing but `--write` and `--store ADDRESS`, in the words of `nix-store`:
/// what forced commands run shall not wait for the parser of everything else either.
fn plain_serve(words: &[OsString]) -> Option<Vec<OsString>> {
    let (first, mut rest) = words.split_first()?;
    if first != "serve" {
        return None;
    }
    let mut plain = vec![OsString::from("--serve")];
    while let Some((word, after)) = rest.split_first() {
        plain.push(word.clone());
        rest = match word.to_str()? {
            "--write" => after,
            "--store" => {
                let (address, after) = after.split_first()?;
                plain.push(address.clone());
                after
            }
            _ => return None,
        };
    }
    Some(plain)
}

/// The words on stdin, unless that is a terminal.
fn piped_words() -> Vec<PathBuf> {
    let mut stdin = std::io::stdin().lock();
    let mut text = Vec::new();
    if stdin.is_terminal() || stdin.read_to_end(&mut text).is_err() {
        return Vec::new();
    }
    text.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).into())
        .collect()
}

/// Chooses the face by the name of the program.
fn parse(argv: &[OsString]) -> Result<LowArgs, Refusal> {
    let words = argv.get(1..).unwrap_or_default();
    let name = argv.first().map(Path::new).and_then(Path::file_name);
    // A connection starts with this word; it skips what other commands need.
    let is_connection = words.iter().any(|word| word == "--serve");
    let plain = plain_serve(words);
    match name.and_then(OsStr::to_str) {
        Some("nix-copy-closure") => copy_closure_face::parse(words).map_err(Refusal::Usage),
        Some("nix-collect-garbage") => collect_garbage_face::parse(words).map_err(Refusal::Usage),
        Some("nix-store") => store_face::parse(words, piped_words).map_err(Refusal::Usage),
        _ if is_connection => store_face::parse(words, Vec::new).map_err(Refusal::Usage),
        _ if words.first().is_some_and(|word| word == SUPERVISE) => {
            supervise_face::parse(&words[1..]).map_err(Refusal::Usage)
        }
        _ if words == [OsStr::new("--self-check")] => Ok(LowArgs {
            global: GlobalArgs::default(),
            command: Command::SelfCheck,
        }),
        _ => match plain {
            Some(words) => store_face::parse(&words, Vec::new).map_err(Refusal::Usage),
            None => clap_face::parse(argv).map_err(Refusal::Clap),
        },
    }
}
