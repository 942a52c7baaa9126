//! The store on the local disk.

mod add;
mod adopt;
mod background_flush;
mod canonicalise;
mod content_check;
mod derivations;
mod export;
mod flush;
mod git_hash;
mod import;
mod moving;
mod occurrences;
mod open;
mod optimise;
mod outputs;
mod piped;
mod private_dir;
mod query;
mod staging;
mod verify;

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix_base::{StoreDir, StorePath, StorePathSet};

use crate::db::Db;
use crate::error::{Error, Result};
use crate::gc::AutoGcState;
use crate::layout::StoreLayout;
use crate::lock::{BigLock, TempRoots};

pub use adopt::{Measure, Reregister};
pub use canonicalise::{CanonicaliseError, Canonicaliser};
pub use git_hash::git_object_id;
pub use import::{BATCH_BYTES, BATCH_PATHS, CommitOutcome, ImportBatch, Scrutiny, Unpacked};
pub use open::{Access, StoreConfig};
pub use optimise::{OptimiseOptions, OptimiseProgress, OptimiseReport};
pub use outputs::NewOutput;
pub use private_dir::PrivateDir;
pub use verify::{
    CheckContents, Fetched, Journal, MetadataFault, Remedy, RepairError, RepairFailure,
    RepairSource, VerifyOptions, VerifyPhase, VerifyProblem, VerifyReport, VerifyWatch,
};

/// A store whose files this process reads and writes itself.
///
/// It holds the big lock shared, and the temporary roots that were added through it, until
/// it is dropped. Not `Sync`: each thread opens its own.
#[derive(Debug)]
pub struct LocalStore {
    config: StoreConfig,
    store_fd: OwnedFd,
    db: Db,
    temp_roots: RefCell<TempRoots>,
    auto_gc: AutoGcState,
    // Dropped last: the lock is to be held for as long as the database is open.
    _big_lock: Option<BigLock>,
}

impl LocalStore {
    /// Where the store's files are.
    pub fn layout(&self) -> &StoreLayout {
        &self.config.layout
    }

    /// How the store was opened. Its access is never [`Access::Auto`].
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// The logical store directory.
    pub fn store_dir(&self) -> &StoreDir {
        &self.config.layout.store_dir
    }

    /// The directory that holds the objects.
    pub fn store_fd(&self) -> BorrowedFd<'_> {
        self.store_fd.as_fd()
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn auto_gc_state(&self) -> &AutoGcState {
        &self.auto_gc
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.config.access == Access::ReadOnly
    }

    /// Fails with an error that names `action` if the store is open for reading.
    pub fn require_writable(&self, action: &'static str) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::ReadOnly {
                action,
                path: self.config.layout.state.clone(),
            });
        }
        Ok(())
    }

    /// [`Self::add_temp_roots`] for one path; cheap if it is kept already.
    ///
    /// # Errors
    /// The store is read-only, or the root can't be recorded.
    pub fn add_temp_root(&self, path: &StorePath) -> Result<()> {
        self.require_writable("add temporary roots")?;
        let printed = self.store_dir().print(path);
        self.temp_roots
            .borrow_mut()
            .add([printed.as_str()])
            .map_err(|error| Error::lock("add temporary roots", error))
    }

    /// Tells a running collector once more of a path that [`Self::add_temp_root`] keeps: to be
    /// called when a permanent root was made of it. Until then the collector may have read the
    /// permanent roots too early, and it may read the temporary ones too late.
    ///
    /// # Errors
    /// The collector lock or its socket can't be used.
    pub fn announce_temp_root(&self, path: &StorePath) -> Result<()> {
        let printed = self.store_dir().print(path);
        self.temp_roots
            .borrow_mut()
            .announce_again([printed.as_str()])
            .map_err(|error| Error::lock("announce a root", error))
    }

    /// Keeps `paths` from being collected until the store is dropped, whether they are
    /// valid or not. Ask for validity only afterwards.
    ///
    /// # Errors
    /// The store is read-only, or a root can't be recorded.
    pub fn add_temp_roots(&self, paths: &StorePathSet) -> Result<()> {
        self.require_writable("add temporary roots")?;
        let printed: Vec<String> = paths
            .iter()
            .map(|path| self.store_dir().print(path))
            .collect();
        self.temp_roots
            .borrow_mut()
            .add(printed.iter().map(String::as_str))
            .map_err(|error| Error::lock("add temporary roots", error))
    }
}
