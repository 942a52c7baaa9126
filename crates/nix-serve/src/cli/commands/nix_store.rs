//! What `nix-store` does beyond our own commands.

mod add_fixed;
mod print_env;
mod register_validity;

use std::process::ExitCode;

use super::{gc, key, optimise, verify};
use crate::cli::context::Context;
use crate::cli::gc_args::{GcArgs, GcMode};
use crate::cli::key_args::NewKey;
use crate::cli::optimise_args::OptimiseArgs;
use crate::cli::store_args::{StoreGcAction, StoreOperation};

/// Does it.
pub(crate) fn run(operation: &StoreOperation, context: &Context) -> anyhow::Result<ExitCode> {
    match operation {
        StoreOperation::AddFixed(args) => add_fixed::run(args, context),
        StoreOperation::PrintFixedPath(args) => add_fixed::print_path(args, context),
        StoreOperation::PrintEnv(drv) => print_env::run(drv, context),
        StoreOperation::RegisterValidity(args) => register_validity::run(*args, context),
        StoreOperation::Collect(args) => {
            let mode = match args.action {
                StoreGcAction::Delete => GcMode::Delete,
                StoreGcAction::PrintRoots => GcMode::PrintRoots,
                StoreGcAction::PrintLive => GcMode::PrintLive,
                StoreGcAction::PrintDead => GcMode::PrintDead,
            };
            let mut gc_args = GcArgs::new(mode);
            gc_args.max_freed = args.max_freed;
            gc::run(&gc_args, context)
        }
        StoreOperation::Delete(args) => {
            let mode = GcMode::Paths {
                paths: args.paths.clone(),
                ignore_liveness: args.ignore_liveness,
            };
            gc::run(&GcArgs::new(mode), context)
        }
        StoreOperation::Optimise => optimise::run(&OptimiseArgs::default(), context),
        StoreOperation::Verify(args) => verify::verify_store(*args, context),
        StoreOperation::VerifyPath(paths) => verify::verify_paths(paths, context),
        StoreOperation::RepairPath(paths) => verify::repair_paths(paths, context),
        StoreOperation::GenerateKey(args) => key::generate(&NewKey {
            name: args.name.clone(),
            secret_file: Some(args.secret.clone()),
            public_file: Some(args.public.clone()),
            // Nix compat: it replaces what is there.
            replace: true,
        }),
    }
}
