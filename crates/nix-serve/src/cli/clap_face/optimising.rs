//! Options of `optimise`.

use std::num::NonZeroUsize;

use clap::Args;

use crate::cli::optimise_args::OptimiseArgs;

#[derive(Debug, Args)]
pub(super) struct OptimiseOptions {
    /// Say what would be freed, and link nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print a report as JSON on stdout.
    #[arg(long)]
    json: bool,
    /// How many threads read files; by default one for each processor, up to 8.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl From<OptimiseOptions> for OptimiseArgs {
    fn from(options: OptimiseOptions) -> Self {
        Self {
            dry_run: options.dry_run,
            json: options.json,
            threads: options.threads,
        }
    }
}

pub(super) const OPTIMISE_EXAMPLES: &str = "\
Examples:
  nix-serve optimise --dry-run
  nix-serve optimise

With 'auto-optimise-store = true' in nix.conf, new paths are optimised as they come.";
