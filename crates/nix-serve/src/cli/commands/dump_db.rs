//! `dump-db`: registrations, as `nix-store --dump-db` prints them.
//!
//! ```text
//! path LF hash (base 16) LF size LF deriver, or nothing LF number of references LF
//! reference LF …
//! ```

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use nix_base::{StoreDir, ValidPathInfo};
use nix_store_core::{Error, Lock, Store};

use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::path_arg::store_paths;

/// Prints the registrations of `paths`, or of all paths.
pub(crate) fn run(paths: &[PathBuf], context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("dump-db", Purpose::Read)?;
    let paths = if paths.is_empty() {
        store.query_all_valid()?
    } else {
        let named = store_paths(paths, store.layout())?;
        let valid = store.query_valid_paths(&named, Lock::No)?;
        if let Some(path) = named.difference(&valid).next() {
            return Err(Error::not_valid(store.store_dir(), path).into());
        }
        named
    };
    let mut output = BufWriter::with_capacity(BUFFER, Output::of_process()?);
    let mut failed = Ok(());
    store.query_path_infos(&paths, &mut |info| {
        if failed.is_ok() {
            failed = output.write_all(registration(store.store_dir(), &info).as_bytes());
        }
        Ok(())
    })?;
    failed
        .and_then(|()| output.flush())
        .context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn registration(dir: &StoreDir, info: &ValidPathInfo) -> String {
    let mut text = String::new();
    let deriver = info.deriver.as_ref().map(|path| dir.print(path));
    // Writing to a string can't fail.
    let _ = writeln!(
        text,
        "{}\n{}\n{}\n{}\n{}",
        dir.display(&info.path),
        info.nar_hash.to_base16(),
        info.nar_size,
        deriver.unwrap_or_default(),
        info.references.len(),
    );
    for reference in &info.references {
        let _ = writeln!(text, "{}", dir.display(reference));
    }
    text
}

const BUFFER: usize = 64 << 10;
