//! What `nix-store` does beyond our own commands.

use std::process::ExitCode;

use super::verify;
use crate::cli::context::Context;
use crate::cli::store_args::StoreOperation;

/// Does it.
pub(crate) fn run(operation: &StoreOperation, context: &Context) -> anyhow::Result<ExitCode> {
    match operation {
        StoreOperation::Verify(args) => verify::verify_store(*args, context),
        StoreOperation::VerifyPath(paths) => verify::verify_paths(paths, context),
        StoreOperation::RepairPath(paths) => verify::repair_paths(paths, context),
        _ => anyhow::bail!(
            "{operation:?} is not part of this program: use Nix's own nix-store for it"
        ),
    }
}
