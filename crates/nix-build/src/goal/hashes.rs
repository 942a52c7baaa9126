//! The hashes under which realisations are kept, of all derivations of a graph.

use std::sync::{Mutex, PoisonError};

use nix_base::{Hash, StorePath};
use nix_drv::{Derivation, HashMemo};

use super::{GraphStore, StoreError};

/// Hashes that were computed, for all threads.
#[derive(Debug, Default)]
pub(crate) struct Hashes(Mutex<HashMemo>);

impl Hashes {
    /// The hash of `drv`. Reads everything below it that wasn't read for a hash before.
    ///
    /// # Errors
    /// An input can't be read, or has no hash.
    pub(crate) fn of<S: GraphStore>(&self, store: &S, drv: &Derivation) -> nix_drv::Result<Hash> {
        let dir = store.store_dir();
        let mut memo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |path: &StorePath| -> Result<Vec<u8>, StoreError> {
            let text = store.read_derivation(path)?;
            text.ok_or_else(|| format!("path '{}' is not valid", dir.print(path)).into())
        };
        memo.load(drv.input_drvs.keys().cloned(), dir, read)?;
        drv.realisation_hash(dir, &memo)
    }
}
