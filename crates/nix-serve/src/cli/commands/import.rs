//! `nix-store --import`: adds the paths of an export stream.

use std::io::BufReader;
use std::process::ExitCode;
use std::sync::Arc;

use nix_store_core::ImportBatch;

use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::signals::{Input, SignalWatch};

/// Adds what stdin brings, and prints the paths.
pub(crate) fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let watch = SignalWatch::install(Arc::default())?;
    let mut input = BufReader::with_capacity(BUFFER, Input::of_process(watch)?);
    let store = context.open_store("--import", Purpose::Write)?;
    let mut output = Output::of_process()?;
    let mut printed = Ok(());
    let imported = ImportBatch::new(&store).import_stream(&mut input, &mut |path| {
        if printed.is_ok() {
            printed = output.line(&store.store_dir().print(path));
        }
    });
    printed?;
    imported?;
    Ok(ExitCode::SUCCESS)
}

const BUFFER: usize = 64 << 10;
