//! `nix-store --export`: paths as an export stream.

use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::path_arg::store_paths;

/// Writes `paths`, those that others refer to first.
pub(crate) fn run(paths: &[PathBuf], context: &Context) -> anyhow::Result<ExitCode> {
    if io::stdout().is_terminal() {
        bail!("an export stream is not for a terminal: send the output to a file or a program");
    }
    let store = context.open_store("--export", Purpose::Read)?;
    let named = store_paths(paths, store.layout())?.into_iter().collect();
    let stream = BufWriter::with_capacity(BUFFER, Output::of_process()?);
    store.export_paths(&named, stream)?;
    Ok(ExitCode::SUCCESS)
}

const BUFFER: usize = 64 << 10;
