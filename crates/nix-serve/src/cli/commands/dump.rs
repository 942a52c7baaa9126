//! `dump`: the archive of a file or directory, on stdout.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

use crate::cli::output::{Output, OutputClosed};

/// Writes the archive of `path`.
pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let output = Output::of_process()?;
    if io::stdout().is_terminal() {
        bail!("an archive is not for a terminal: send the output to a file or a program");
    }
    match nix_nar::fs::dump::dump_to_fd(path, output.as_fd()) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(nix_nar::Error::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            Err(OutputClosed.into())
        }
        Err(error) => Err(error.into()),
    }
}
