//! Options of `verify`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::config::parse_size;
use crate::cli::verify_args::VerifyArgs;

#[derive(Debug, Args)]
pub(super) struct VerifyOptions {
    /// Read and hash every file.
    #[arg(long)]
    check_contents: bool,
    /// Look at owners, modes, times and attributes, too; implies --check-contents.
    #[arg(long)]
    check_metadata: bool,
    /// Put right what is wrong, with good copies from the sources.
    #[arg(long)]
    repair: bool,
    /// Where good copies are: ssh://HOST, exec:COMMAND, file://DIR, https://HOST, or another
    /// local store; may be repeated, and the first that has a path gives it.
    #[arg(long = "from", value_name = "ADDRESS", requires = "repair")]
    sources: Vec<String>,
    /// Go on where an earlier check of contents was cut; implies --check-contents.
    #[arg(long, conflicts_with = "paths")]
    resume: bool,
    /// Read no faster than so many bytes in a second: a number, perhaps with K, M, G or T.
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    rate: Option<u64>,
    /// Print a report as JSON on stdout.
    #[arg(long)]
    json: bool,
    /// Only these store paths, or symlinks to them.
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
}

impl From<VerifyOptions> for VerifyArgs {
    fn from(options: VerifyOptions) -> Self {
        Self {
            check_contents: options.check_contents
                || options.check_metadata
                || options.resume
                || options.rate.is_some(),
            check_metadata: options.check_metadata,
            repair: options.repair,
            sources: options.sources,
            resume: options.resume,
            rate: options.rate,
            json: options.json,
            paths: options.paths,
        }
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let size = parse_size(text.strip_suffix("/s").unwrap_or(text));
    size.filter(|rate| *rate > 0)
        .ok_or_else(|| "expected a number of bytes, perhaps with K, M, G or T behind it".to_owned())
}

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  nix-serve verify --check-contents --store local?root=/tmp/store
  nix-serve verify --check-contents --rate 20M --resume
                                     gently, and on from where it was stopped
  nix-serve verify --check-contents --repair --from ssh://mirror --from https://cache.example.org
  nix-serve verify --check-metadata --json /nix/store/…-hello-2.12

The exit status is 1 if something is wrong and was not put right.";
