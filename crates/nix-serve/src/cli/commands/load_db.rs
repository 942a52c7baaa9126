//! `load-db`: registers paths that are on disk already, from what `dump-db` printed.

use std::process::ExitCode;
use std::sync::Arc;

use super::registrations::{HashGiven, read_all};
use crate::cli::context::{Context, Purpose};
use crate::cli::signals::{Input, SignalWatch};

/// Registers what stdin says, all or nothing.
pub(crate) fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let watch = SignalWatch::install(Arc::default())?;
    let store = context.open_store("load-db", Purpose::Write)?;
    let input = Input::of_process(watch)?;
    let batch = read_all(input, store.store_dir(), HashGiven::Yes)?;
    let count = batch.len();
    store.register_present(batch)?;
    tracing::debug!("{count} paths registered");
    Ok(ExitCode::SUCCESS)
}
