//! A text that is ready.

use std::process::ExitCode;

use crate::cli::output::Output;

/// Prints `text` as it is.
pub(crate) fn run(text: &str) -> anyhow::Result<ExitCode> {
    Output::of_process()?.print(text)?;
    Ok(ExitCode::SUCCESS)
}
