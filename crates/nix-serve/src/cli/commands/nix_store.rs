//! What `nix-store` does beyond our own commands.

use std::process::ExitCode;

use crate::cli::context::Context;
use crate::cli::store_args::StoreOperation;

/// Does it.
pub(crate) fn run(operation: &StoreOperation, _context: &Context) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{operation:?} is not part of this program: use Nix's own nix-store for it")
}
