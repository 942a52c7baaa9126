//! `completions`: a completion script for a shell.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::cli::clap_face::description;
use crate::cli::output::Output;

/// Prints the script for `shell`.
pub(crate) fn run(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut description(), "nix-serve", &mut script);
    Output::of_process()?.print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
