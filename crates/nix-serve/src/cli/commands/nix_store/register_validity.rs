//! `--register-validity`: registers paths that are on disk already.

use std::process::ExitCode;
use std::sync::Arc;

use nix_store_core::{Measure, Reregister};

use crate::cli::commands::registrations::{HashGiven, read_all};
use crate::cli::context::{Context, Purpose};
use crate::cli::signals::{Input, SignalWatch};
use crate::cli::store_args::RegisterArgs;

/// Registers what stdin says, all or nothing.
pub(super) fn run(args: RegisterArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let watch = SignalWatch::install(Arc::default())?;
    let store = context.open_store("--register-validity", Purpose::Write)?;
    let (hash_given, measure) = match args.hash_given {
        true => (HashGiven::Yes, Measure::No),
        false => (HashGiven::No, Measure::Yes),
    };
    let input = Input::of_process(watch)?;
    let batch = read_all(input, store.store_dir(), hash_given)?;
    let reregister = match args.reregister {
        true => Reregister::Yes,
        false => Reregister::No,
    };
    store.adopt(batch, measure, reregister)?;
    Ok(ExitCode::SUCCESS)
}
