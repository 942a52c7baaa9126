//! Putting good copies in the place of damaged objects.
//!
//! ```text
//! pin as temporary root · read the metadata · receive a copy into the staging directory,
//! hashing · compare with the recorded hash                                no lock is held
//! lock the path · ask again whether it is valid · flush · exchange · flush the names ·
//! unlock · remove what was there
//! ```
//!
//! The exchange is one system call where the file system has it, so that at each moment
//! something lies at the path, and nobody who has files of it open loses them. What was there
//! goes with the staging directory, after a crash with the next collection.

use std::cell::OnceCell;
use std::io::BufRead;

use nix_base::{StorePath, ValidPathInfo};

use crate::db::Durability;
use crate::error::{BoxedCause, Error, FullPath, Result};
use crate::local::LocalStore;
use crate::local::staging::{StagedTree, StagingDir};
use crate::lock::{LockDir, Wait};

/// Another store or a cache, where good copies may be.
pub trait RepairSource {
    /// What it is, for messages.
    fn name(&self) -> &str;

    /// Looks for the object with the path, hash and size of `info`, and if it is there calls
    /// `take` with its archive, once. The archive need not be trusted: it is compared with
    /// `info`.
    ///
    /// # Errors
    /// The source fails, or `take` did.
    fn fetch(
        &mut self,
        info: &ValidPathInfo,
        take: &mut dyn FnMut(&mut dyn BufRead) -> Result<()>,
    ) -> Result<Fetched, BoxedCause>;
}

/// Whether a source had an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It was taken.
    Yes,
    /// The source has nothing of this path, or something else.
    No,
}

/// Why something can't be put right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// No source was named.
    #[error("no source to repair from was named")]
    NoSource,
    /// None of the sources has an object with the recorded hash.
    #[error("no source has it with the recorded hash")]
    NowhereFound,
    /// The object is damaged or gone, and its hash isn't known.
    #[error("its hash was never recorded, so a good copy can't be told from another")]
    NoHash,
    /// The database is damaged.
    #[error("the database has to be restored from a backup")]
    Database,
    /// A source failed, and no other has the object.
    #[error("cannot get it from '{name}'")]
    Source {
        /// The source.
        name: String,
        /// Why.
        #[source]
        source: BoxedCause,
    },
    /// The store can't take the copy.
    #[error("cannot put the copy into its place")]
    Store(#[source] Box<Error>),
}

impl RepairError {
    /// Whether nobody has a good copy, as far as was asked.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::NoSource | Self::NowhereFound | Self::NoHash)
    }
}

/// Puts good copies in the place of damaged objects.
pub(super) struct Repairer<'s> {
    store: &'s LocalStore,
    staging: OnceCell<StagingDir>,
    lock_dir: OnceCell<LockDir>,
}

impl<'s> Repairer<'s> {
    pub(super) const fn new(store: &'s LocalStore) -> Self {
        Self {
            store,
            staging: OnceCell::new(),
            lock_dir: OnceCell::new(),
        }
    }

    /// Gets the object of `path`, which was valid, from the first source that has it. A path
    /// that isn't valid any longer needs nothing.
    pub(super) fn restore(
        &self,
        path: &StorePath,
        sources: &mut [Box<dyn RepairSource + '_>],
    ) -> Result<(), RepairError> {
        if sources.is_empty() {
            return Err(RepairError::NoSource);
        }
        self.store.add_temp_root(path).map_err(of_store)?;
        let Some(info) = self.store.db().query_path_info(path).map_err(of_store)? else {
            return Ok(());
        };
        if info.nar_hash.is_unknown() {
            return Err(RepairError::NoHash);
        }
        let mut failure = None;
        for source in sources {
            match self.restore_from(&info, &mut **source) {
                Ok(Fetched::Yes) => return Ok(()),
                Ok(Fetched::No) => {}
                Err(error @ RepairError::Store(_)) => return Err(error),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        Err(failure.unwrap_or(RepairError::NowhereFound))
    }

    fn restore_from(
        &self,
        info: &ValidPathInfo,
        source: &mut dyn RepairSource,
    ) -> Result<Fetched, RepairError> {
        let staging = self.staging().map_err(of_store)?;
        let mut staged = None;
        let mut of_disk = None;
        let fetched = source.fetch(info, &mut |nar| {
            let limit = Some(info.nar_size).filter(|size| *size != 0);
            let tree = match staging.unpack(nar, limit) {
                Ok(tree) => tree,
                Err(error) => return Err(self.unpack_error(info, error, &mut of_disk)),
            };
            let checked = self.compare(info, &tree);
            staged = Some(tree);
            checked
        });
        if let Some(error) = of_disk {
            return Err(of_store(error));
        }
        match (fetched, staged) {
            (Ok(Fetched::Yes), Some(tree)) => {
                self.replace(info, staging, &tree).map_err(of_store)?;
                Ok(Fetched::Yes)
            }
            (Ok(_), None) => Ok(Fetched::No),
            (fetched, staged) => {
                if let Some(tree) = &staged {
                    staging.discard(tree);
                }
                match fetched {
                    Ok(_) => Ok(Fetched::No),
                    Err(cause) => Err(RepairError::Source {
                        name: source.name().to_owned(),
                        source: cause,
                    }),
                }
            }
        }
    }

    /// Tells failures of our disk from those of the source.
    fn unpack_error(
        &self,
        info: &ValidPathInfo,
        source: nix_nar::Error,
        of_disk: &mut Option<Error>,
    ) -> Error {
        let is_ours = matches!(source, nix_nar::Error::File { .. });
        let error = Error::Nar {
            action: "unpack",
            path: self.full(info),
            source,
        };
        if !is_ours {
            return error;
        }
        *of_disk = Some(error);
        Error::not_valid(self.store.store_dir(), &info.path)
    }

    fn compare(&self, info: &ValidPathInfo, tree: &StagedTree) -> Result<()> {
        if tree.nar_hash == info.nar_hash {
            return Ok(());
        }
        Err(Error::HashMismatch {
            path: self.full(info),
            expected: info.nar_hash,
            actual: tree.nar_hash,
        })
    }

    /// Puts a copy of the object, whose content is right, into its place: with canonical
    /// metadata, and without changing any file that may have names elsewhere.
    pub(super) fn copy_anew(&self, path: &StorePath) -> Result<()> {
        self.store.add_temp_root(path)?;
        let Some(info) = self.store.db().query_path_info(path)? else {
            return Ok(());
        };
        let staging = self.staging()?;
        let tree = self.store.read_object(path, |nar| {
            staging.unpack(nar, None).map_err(|source| Error::Nar {
                action: "unpack",
                path: self.full(&info),
                source,
            })
        })?;
        if let Err(error) = self.compare(&info, &tree) {
            staging.discard(&tree);
            return Err(error);
        }
        self.replace(&info, staging, &tree)
    }

    /// Exchanges what lies at the path for a good copy, if the path is still valid.
    fn replace(&self, info: &ValidPathInfo, staging: &StagingDir, tree: &StagedTree) -> Result<()> {
        self.locked(&info.path, || {
            let replaced = self.replace_locked(info, staging, tree);
            // What is there now: what was, or nothing, if it was exchanged or not needed.
            staging.discard(tree);
            replaced
        })
    }

    /// Does something while nobody else can put anything at `path`.
    pub(super) fn locked<T>(&self, path: &StorePath, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let lock = self
            .lock_dir()?
            .lock(&path.base_name(), Wait::Forever)
            .map_err(|source| Error::lock("lock the path to repair", source))?;
        let done = act();
        if let Some(mut lock) = lock {
            lock.request_removal();
        }
        done
    }

    fn replace_locked(
        &self,
        info: &ValidPathInfo,
        staging: &StagingDir,
        tree: &StagedTree,
    ) -> Result<()> {
        let now = self.store.db().query_path_info(&info.path)?;
        if now.is_none_or(|now| now.nar_hash != tree.nar_hash) {
            return Ok(());
        }
        // The path stays valid all the time: its new content is on stable storage before it
        // gets the name.
        let durable = self.store.config().durability != Durability::None;
        let flushed = durable && staging.flush_contents(std::iter::once(tree))?;
        if durable && !flushed {
            staging.flush_names(true)?;
        }
        staging.exchange_in_store(tree, &info.path)?;
        if durable {
            staging.flush_names(false)?;
        }
        if info.nar_size != tree.nar_size {
            self.store
                .db()
                .record_content(&info.path, &tree.nar_hash, tree.nar_size)?;
        }
        Ok(())
    }

    fn staging(&self) -> Result<&StagingDir> {
        if let Some(staging) = self.staging.get() {
            return Ok(staging);
        }
        // Another file may have the very fault that is repaired.
        let staging = StagingDir::create_unshared(self.store)?;
        Ok(self.staging.get_or_init(|| staging))
    }

    fn lock_dir(&self) -> Result<&LockDir> {
        if let Some(dir) = self.lock_dir.get() {
            return Ok(dir);
        }
        let dir = LockDir::open(&self.store.layout().real_store)
            .map_err(|source| Error::lock("lock the path to repair", source))?;
        Ok(self.lock_dir.get_or_init(|| dir))
    }

    fn full(&self, info: &ValidPathInfo) -> Box<FullPath> {
        Box::new(FullPath::new(self.store.store_dir(), &info.path))
    }
}

fn of_store(error: Error) -> RepairError {
    RepairError::Store(Box::new(error))
}
