//! The options of `gc` and `delete`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::building::parse_time;
use crate::cli::config::parse_size;
use crate::cli::gc_args::{GcArgs, GcMode};

#[derive(Debug, Args)]
pub(super) struct GcOptions {
    #[command(flatten)]
    print: PrintOptions,
    /// Say what would be deleted, and delete nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Stop once more than SIZE was freed: bytes, or 500M, 20G.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_freed: Option<u64>,
    /// Delete only what wasn't used for so long: 30d, 12h.
    #[arg(long, value_name = "AGE", value_parser = parse_time)]
    older_than: Option<u64>,
    /// Keep what was used last, up to SIZE of what could be deleted.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep_bytes: Option<u64>,
    /// Stop when the disk has SIZE to spare.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    free_bytes: Option<u64>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct PrintOptions {
    /// Print what keeps paths, and which.
    #[arg(long, conflicts_with_all = LIMITS)]
    print_roots: bool,
    /// Print what is alive.
    #[arg(long, conflicts_with_all = LIMITS)]
    print_live: bool,
    /// Print what could be deleted.
    #[arg(long, conflicts_with_all = LIMITS)]
    print_dead: bool,
}

const LIMITS: [&str; 5] = [
    "dry_run",
    "max_freed",
    "older_than",
    "keep_bytes",
    "free_bytes",
];

#[derive(Debug, Args)]
pub(super) struct DeleteOptions {
    /// Delete them even if roots keep them; what refers to them keeps them all the same.
    #[arg(long)]
    ignore_liveness: bool,
    /// Say what would be deleted, and delete nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Store paths, or symlinks to them.
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text)
        .ok_or_else(|| "expected bytes, or a number with 'K', 'M', 'G' or 'T'".to_owned())
}

impl From<GcOptions> for GcArgs {
    fn from(options: GcOptions) -> Self {
        let print = options.print;
        Self {
            mode: match (print.print_roots, print.print_live, print.print_dead) {
                (true, ..) => GcMode::PrintRoots,
                (_, true, _) => GcMode::PrintLive,
                (.., true) => GcMode::PrintDead,
                _ => GcMode::Delete,
            },
            max_freed: options.max_freed,
            older_than: options.older_than.map(Duration::from_secs),
            keep_bytes: options.keep_bytes,
            free_bytes: options.free_bytes,
            dry_run: options.dry_run,
            json: options.json,
        }
    }
}

impl From<DeleteOptions> for GcArgs {
    fn from(options: DeleteOptions) -> Self {
        Self {
            dry_run: options.dry_run,
            json: options.json,
            ..Self::new(GcMode::Paths {
                paths: options.paths,
                ignore_liveness: options.ignore_liveness,
            })
        }
    }
}

pub(super) const GC_EXAMPLES: &str = "\
Examples:
  nix-serve gc --dry-run             say what would go, and how much that frees
  nix-serve gc
  nix-serve gc --older-than 30d --keep-bytes 50G
                                     only what nobody used for a month, and only as far as
                                     more than 50 GiB of garbage are there
  nix-serve gc --free-bytes 100G     as much as it takes, least recently used first
  nix-serve gc --print-roots

What was used when is known by registration and access times; file systems mounted with
'relatime' note an access about once a day, those with 'noatime' never.";
pub(super) const DELETE_EXAMPLES: &str = "\
Examples:
  nix-serve delete /nix/store/…-hello-2.12
  nix-serve delete --dry-run ./result

The exit status is 1 if one of them is in use; then it stays, and so do those after it in the
order of the paths.";
