//! `nix-store --export`: paths as an export stream.

use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use nix_nar::export::{ExportTrailer, ExportWriter};
use nix_store_core::{Error, Store};

use super::order::sorted_by_references;
use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::path_arg::store_paths;

/// Writes `paths`, those that others refer to first.
pub(crate) fn run(paths: &[PathBuf], context: &Context) -> anyhow::Result<ExitCode> {
    if io::stdout().is_terminal() {
        bail!("an export stream is not for a terminal: send the output to a file or a program");
    }
    let store = context.open_store("--export", Purpose::Read)?;
    let named = store_paths(paths, store.layout())?;
    let mut stream = ExportWriter::new(BufWriter::with_capacity(BUFFER, Output::of_process()?));
    let sorted = sorted_by_references(&store, &named)?;
    if let Some(path) = named.iter().find(|path| !sorted.contains(path)) {
        return Err(Error::not_valid(store.store_dir(), path).into());
    }
    for path in sorted {
        let info = store
            .query_path_info(&path)?
            .ok_or_else(|| Error::not_valid(store.store_dir(), &path))?;
        let explain = || format!("cannot export path '{}'", store.store_dir().display(&path));
        stream.begin_archive().with_context(explain)?;
        store.dump(&path, stream.archive()).with_context(explain)?;
        let trailer = ExportTrailer {
            path: info.path,
            references: info.info.references,
            deriver: info.info.deriver,
        };
        stream
            .write_trailer(store.store_dir(), &trailer)
            .with_context(explain)?;
    }
    stream.finish().context("cannot end the export stream")?;
    Ok(ExitCode::SUCCESS)
}

const BUFFER: usize = 64 << 10;
