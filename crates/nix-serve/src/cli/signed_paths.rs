//! The paths that a command about signatures means.

use nix_base::StorePathSet;
use nix_store_core::{IncludeOutputs, LocalStore, Store};

use super::key_args::SignedPaths;
use super::path_arg::store_paths;

/// The valid paths that `args` names.
pub(crate) fn signed_paths(args: &SignedPaths, store: &LocalStore) -> anyhow::Result<StorePathSet> {
    if args.all {
        return Ok(store.query_all_valid()?);
    }
    let paths = store_paths(&args.paths, store.layout())?;
    Ok(match args.recursive {
        true => store.closure(&paths, IncludeOutputs::No)?,
        false => paths,
    })
}
