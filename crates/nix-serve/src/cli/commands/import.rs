//! `nix-store --import`: adds the paths of an export stream.

use std::io::BufReader;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use nix_base::{NarHash, StorePath, UnkeyedValidPathInfo, ValidPathInfo};
use nix_nar::export::{ExportReader, ExportTrailer};
use nix_store_core::ImportBatch;

use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::signals::{Input, SignalWatch};

/// Adds what stdin brings, and prints the paths.
pub(crate) fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let watch = SignalWatch::install(Arc::default())?;
    let input = BufReader::with_capacity(BUFFER, Input::of_process(watch)?);
    let store = context.open_store("--import", Purpose::Write)?;
    let batch = ImportBatch::new(&store);
    let mut stream = ExportReader::new(input);
    let mut output = Output::of_process()?;
    let mut staged = Vec::new();
    let mut commit = |staged: &mut Vec<StorePath>| -> anyhow::Result<()> {
        let outcome = batch.commit();
        for path in staged.drain(..).take(outcome.valid) {
            output.line(&store.store_dir().print(&path))?;
        }
        outcome.failure.map_or(Ok(()), |error| Err(error.into()))
    };
    while stream.next_archive().context(STREAM)? {
        let object = batch.unpack(stream.archive())?;
        let trailer = stream.read_trailer(store.store_dir()).context(STREAM)?;
        staged.push(trailer.path.clone());
        batch.name(object, announced(trailer))?;
        if batch.is_full() {
            commit(&mut staged)?;
        }
    }
    commit(&mut staged)?;
    Ok(ExitCode::SUCCESS)
}

/// The metadata of a path; hash and size follow from its archive.
fn announced(trailer: ExportTrailer) -> ValidPathInfo {
    let mut info = UnkeyedValidPathInfo::new(NarHash::from_bytes([0; 32]), 0);
    info.references = trailer.references;
    info.deriver = trailer.deriver;
    ValidPathInfo {
        path: trailer.path,
        info,
    }
}

const STREAM: &str = "cannot read the export stream";
const BUFFER: usize = 64 << 10;
