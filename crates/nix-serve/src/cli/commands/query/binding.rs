//! `--binding`: what a derivation gives its builder under a name.

use anyhow::{Context as _, anyhow};
use nix_base::StorePath;
use nix_drv::{Derivation, Strictness};
use nix_store_core::{Error, LocalStore};

use crate::builds::read_derivation_file;

/// Adds the value of `name` in each of `drvs` to `out`, on a line of its own.
pub(super) fn print(
    store: &LocalStore,
    name: &str,
    drvs: &[StorePath],
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    for path in drvs {
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
