//! The command of supervisors, which go on building when clients have left.

use std::path::Path;
use std::process::ExitCode;

use crate::builds::supervise;
use crate::cli::context::{Context, Purpose};

/// Does the build whose files are in `dir`.
pub(crate) fn run(dir: &Path, context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("supervise-build", Purpose::Write)?;
    supervise(context.build_config()?, store.config().clone(), dir)?;
    Ok(ExitCode::SUCCESS)
}
