//! Where in an object references stand.

use std::ffi::OsStr;

use nix_base::{StorePath, StorePathHash};
use nix_nar::fs::find::{Extent, Place, find_hashes};

use super::LocalStore;
use crate::error::{Error, FullPath, Result};

impl LocalStore {
    /// Looks for hashes of paths in whatever lies at `path`, valid or not.
    ///
    /// # Errors
    /// The object can't be read.
    pub fn find_hashes(
        &self,
        path: &StorePath,
        hashes: impl IntoIterator<Item = StorePathHash>,
        extent: Extent,
    ) -> Result<Vec<Place>> {
        let name = path.to_string();
        find_hashes(self.store_fd(), OsStr::new(&name), hashes, extent).map_err(|source| {
            Error::Nar {
                action: "look for references in",
                path: Box::new(FullPath::new(self.store_dir(), path)),
                source,
            }
        })
    }
}
