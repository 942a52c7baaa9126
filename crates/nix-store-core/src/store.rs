//! What a server asks of a store.

use std::io::Write;

use nix_base::{StoreDir, StorePath, StorePathSet, ValidPathInfo};

pub use crate::db::IncludeOutputs;
use crate::error::Result;

/// Whether the valid paths of an answer are kept from collectors until the store is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lock {
    /// They may go at any time.
    #[default]
    No,
    /// They stay.
    Yes,
}

/// A store that can be asked for paths and their contents.
pub trait Store {
    /// The logical store directory.
    fn store_dir(&self) -> &StoreDir;

    /// Those of `paths` that are valid. With [`Lock::Yes`] they are rooted first, all at
    /// once, and asked for afterwards, so that no collector comes in between.
    ///
    /// # Errors
    /// Those of the store.
    fn query_valid_paths(&self, paths: &StorePathSet, lock: Lock) -> Result<StorePathSet>;

    /// The metadata of `path`, or `None` if it isn't valid.
    ///
    /// # Errors
    /// Those of the store.
    fn query_path_info(&self, path: &StorePath) -> Result<Option<ValidPathInfo>>;

    /// Calls `each` with the metadata of those of `paths` that are valid, in order. No lock
    /// is held during the calls.
    ///
    /// # Errors
    /// Those of the store, and the first one of `each`.
    fn query_path_infos(
        &self,
        paths: &StorePathSet,
        each: &mut dyn FnMut(ValidPathInfo) -> Result<()>,
    ) -> Result<()>;

    /// `roots` and everything they refer to, directly or not.
    ///
    /// # Errors
    /// One of `roots` isn't valid; those of the store.
    fn closure(
        &self,
        roots: &StorePathSet,
        include_outputs: IncludeOutputs,
    ) -> Result<StorePathSet>;

    /// Writes the archive of `path` to `out`.
    ///
    /// # Errors
    /// `path` isn't valid, or its content can't be read; those of `out`. Some bytes may
    /// have been written then.
    fn dump(&self, path: &StorePath, out: &mut dyn Write) -> Result<()>;

    /// Keeps `paths` from being collected until the store is dropped, whether they are
    /// valid or not.
    ///
    /// # Errors
    /// A root can't be recorded.
    fn add_temp_roots(&self, paths: &StorePathSet) -> Result<()>;
}
