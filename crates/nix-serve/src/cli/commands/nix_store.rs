//! What `nix-store` does beyond our own commands.

mod add_fixed;
mod print_env;
mod register_validity;

use std::process::ExitCode;

use super::verify;
use crate::cli::context::Context;
use crate::cli::store_args::StoreOperation;

/// Does it.
pub(crate) fn run(operation: &StoreOperation, context: &Context) -> anyhow::Result<ExitCode> {
    match operation {
        StoreOperation::AddFixed(args) => add_fixed::run(args, context),
        StoreOperation::PrintFixedPath(args) => add_fixed::print_path(args, context),
        StoreOperation::PrintEnv(drv) => print_env::run(drv, context),
        StoreOperation::RegisterValidity(args) => register_validity::run(*args, context),
        StoreOperation::Verify(args) => verify::verify_store(*args, context),
        StoreOperation::VerifyPath(paths) => verify::verify_paths(paths, context),
        StoreOperation::RepairPath(paths) => verify::repair_paths(paths, context),
    }
}
