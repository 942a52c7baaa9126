//! `man`: manual pages.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::clap_face::description;
use crate::cli::output::Output;

/// Prints the main page, or writes the pages of all commands into `dir`.
pub(crate) fn run(dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    match dir {
        Some(dir) => clap_mangen::generate_to(description(), dir)
            .with_context(|| format!("cannot write manual pages to '{}'", dir.display()))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(description())
                .render(&mut page)
                .context("cannot make the manual page")?;
            Output::of_process()?.print(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
