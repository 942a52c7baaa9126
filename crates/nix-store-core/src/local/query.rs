//! Questions to the local store.

use std::ffi::OsStr;
use std::io::Write;

use nix_base::{OutputName, StoreDir, StorePath, StorePathHash, StorePathSet, ValidPathInfo};

use super::LocalStore;
use crate::db::IncludeOutputs;
use crate::error::{Error, FullPath, Result};
use crate::store::{Lock, Store};

impl LocalStore {
    /// Whether `path` is valid.
    ///
    /// # Errors
    /// Those of the database.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool> {
        self.db.is_valid(path)
    }

    /// What `path` refers to, itself included if it does.
    ///
    /// # Errors
    /// `path` isn't valid.
    pub fn query_references(&self, path: &StorePath) -> Result<StorePathSet> {
        self.db.query_references(path)
    }

    /// The valid paths that refer to `path`, itself included if it does.
    ///
    /// # Errors
    /// Those of the database.
    pub fn query_referrers(&self, path: &StorePath) -> Result<StorePathSet> {
        self.db.query_referrers(path)
    }

    /// The valid derivations that have `path` as an output.
    ///
    /// # Errors
    /// Those of the database.
    pub fn query_valid_derivers(&self, path: &StorePath) -> Result<StorePathSet> {
        self.db.query_valid_derivers(path)
    }

    /// The outputs recorded for the derivation `path`; they need not be valid.
    ///
    /// # Errors
    /// `path` isn't valid.
    pub fn query_derivation_outputs(
        &self,
        path: &StorePath,
    ) -> Result<Vec<(OutputName, StorePath)>> {
        self.db.query_derivation_outputs(path)
    }

    /// The valid path whose base name starts with `hash`.
    ///
    /// # Errors
    /// Those of the database.
    pub fn query_path_from_hash_part(&self, hash: &StorePathHash) -> Result<Option<StorePath>> {
        self.db.query_path_from_hash_part(hash)
    }

    /// All valid paths.
    ///
    /// # Errors
    /// Those of the database.
    pub fn query_all_valid(&self) -> Result<StorePathSet> {
        self.db.query_all_valid()
    }

    /// Writes the archive of whatever lies at `path`, valid or not.
    ///
    /// # Errors
    /// The object can't be read; those of `out`.
    pub fn dump_object(&self, path: &StorePath, out: &mut impl Write) -> Result<u64> {
        let name = path.to_string();
        nix_nar::fs::dump::dump_at(self.store_fd(), OsStr::new(&name), out).map_err(|source| {
            Error::Nar {
                action: "write",
                path: Box::new(FullPath::new(self.store_dir(), path)),
                source,
            }
        })
    }
}

impl Store for LocalStore {
    fn store_dir(&self) -> &StoreDir {
        self.store_dir()
    }

    fn query_valid_paths(&self, paths: &StorePathSet, lock: Lock) -> Result<StorePathSet> {
        if lock == Lock::Yes {
            self.add_temp_roots(paths)?;
        }
        self.db.query_valid(paths)
    }

    fn query_path_info(&self, path: &StorePath) -> Result<Option<ValidPathInfo>> {
        self.db.query_path_info(path)
    }

    fn query_path_infos(
        &self,
        paths: &StorePathSet,
        each: &mut dyn FnMut(ValidPathInfo) -> Result<()>,
    ) -> Result<()> {
        self.db.query_infos(paths, each)
    }

    fn closure(
        &self,
        roots: &StorePathSet,
        include_outputs: IncludeOutputs,
    ) -> Result<StorePathSet> {
        self.db.closure(roots, include_outputs)
    }

    fn dump(&self, path: &StorePath, mut out: &mut dyn Write) -> Result<()> {
        if !self.is_valid(path)? {
            return Err(Error::not_valid(self.store_dir(), path));
        }
        self.dump_object(path, &mut out).map(drop)
    }

    fn add_temp_roots(&self, paths: &StorePathSet) -> Result<()> {
        self.add_temp_roots(paths)
    }
}
