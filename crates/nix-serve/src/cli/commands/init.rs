//! `init`: makes a store.

use std::process::ExitCode;

use crate::cli::context::{Context, Purpose};

/// Makes the store if there is none.
pub(crate) fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("init", Purpose::Write)?;
    store.require_writable("make a store")?;
    tracing::debug!("store in '{}'", store.layout().state.display());
    Ok(ExitCode::SUCCESS)
}
