//! `log`, and `nix-store --read-log`: what builders wrote.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use nix_base::{StorePath, StorePathSet};
use nix_build::log::open_log;
use nix_store_core::{LocalStore, Store};

use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::path_arg::store_path;

/// Prints the log of each path, or of the derivation that it was built from.
pub(crate) fn run(paths: &[PathBuf], context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("log", Purpose::Read)?;
    let mut output = Output::of_process()?;
    for argument in paths {
        let path = store_path(argument, store.layout())?;
        let mut log = find(&store, &path)?;
        copy(&mut log, &mut output)
            .with_context(|| format!("cannot print the log of '{}'", argument.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn find(store: &LocalStore, path: &StorePath) -> anyhow::Result<Box<dyn Read>> {
    for drv in derivations_of(store, path)? {
        if let Some(log) = open_log(store.layout(), &drv)? {
            return Ok(log);
        }
    }
    // Nix compat: its words.
    bail!(
        "build log of derivation '{}' is not available",
        store.store_dir().display(path)
    );
}

/// The path itself, or what it was built from, as far as the store knows.
fn derivations_of(store: &LocalStore, path: &StorePath) -> anyhow::Result<StorePathSet> {
    if path.is_derivation() {
        return Ok(StorePathSet::from([path.clone()]));
    }
    let mut drvs = store.db().query_valid_derivers(path)?;
    let info = store.query_path_info(path)?;
    drvs.extend(info.and_then(|info| info.info.deriver));
    Ok(drvs)
}

fn copy(log: &mut dyn Read, output: &mut Output) -> anyhow::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match log.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(count) => output.write_all(&block[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

const BLOCK: usize = 64 * 1024;
