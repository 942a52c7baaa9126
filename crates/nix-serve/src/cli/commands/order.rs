//! Paths in the order in which they can be copied.

use nix_base::{StorePathSet, ValidPathInfo};
use nix_store_core::Store;

use crate::client::order::references_first;

/// The metadata of those of `paths` that are valid, what others refer to before them.
pub(crate) fn infos_by_references(
    store: &dyn Store,
    paths: &StorePathSet,
) -> anyhow::Result<Vec<ValidPathInfo>> {
    let mut infos = Vec::new();
    store.query_path_infos(paths, &mut |info| {
        infos.push(info);
        Ok(())
    })?;
    Ok(references_first(store.store_dir(), infos)?)
}
