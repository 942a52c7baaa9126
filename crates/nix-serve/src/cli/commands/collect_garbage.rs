//! `nix-collect-garbage`.

use std::process::ExitCode;

use crate::cli::context::Context;
use crate::cli::store_args::CollectGarbageArgs;

/// Removes old generations, then collects.
pub(crate) fn run(_args: &CollectGarbageArgs, _context: &Context) -> anyhow::Result<ExitCode> {
    anyhow::bail!("collecting is not part of this program: use Nix's own nix-collect-garbage")
}
