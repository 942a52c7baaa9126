//! `--binding`: what a derivation gives its builder under a name.

use anyhow::{Context as _, anyhow};
use nix_base::StorePath;
use nix_drv::{Derivation, Strictness};
use nix_store_core::{Error, LocalStore, Store};

use crate::builds::read_derivation_file;

/// Adds the value of `name` in each of `drvs` to `out`, on a line of its own.
pub(super) fn print(
    store: &LocalStore,
    name: &str,
    drvs: &[StorePath],
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    for path in drvs {
        let path = &derivation_of(store, path)?;
        let drv = read_derivation(store, path)?;
        let value = drv.basic.env_var(name).with_context(|| {
            // Nix compat: its words.
            format!(
                "derivation '{}' has no environment binding named '{name}'",
                store.store_dir().display(path)
            )
        })?;
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    Ok(())
}

/// The path itself if it is that of a derivation, else what it was built from.
fn derivation_of(store: &LocalStore, path: &StorePath) -> anyhow::Result<StorePath> {
    if path.is_derivation() {
        return Ok(path.clone());
    }
    let dir = store.store_dir();
    let info = store
        .query_path_info(path)?
        .ok_or_else(|| Error::not_valid(dir, path))?;
    // Nix compat: its words.
    info.info
        .deriver
        .with_context(|| format!("deriver of path '{}' is not known", dir.display(path)))
}

/// The derivation at a valid path.
pub(in crate::cli::commands) fn read_derivation(
    store: &LocalStore,
    path: &StorePath,
) -> anyhow::Result<Derivation> {
    let dir = store.store_dir();
    if !store.is_valid(path)? {
        return Err(Error::not_valid(dir, path).into());
    }
    let text = read_derivation_file(store, path)
        .map_err(|error| anyhow!(error))
        .with_context(|| format!("cannot read derivation '{}'", dir.display(path)))?;
    Ok(Derivation::parse_file(
        &text,
        dir,
        path,
        Strictness::Lenient,
    )?)
}
