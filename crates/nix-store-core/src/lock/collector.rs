//! All that a collector holds while it decides and deletes.
//!
//! ```text
//! acquire:  1. flock(gc.lock, LOCK_EX)
//!           2. listen on gc-socket/socket: from here on every new root is heard
//!           3. read all files of temproots
//! begin:    unless the path is among the roots known by now: publish it as pending
//! drop:     the path is pending no more: those who announced it meanwhile get their answer
//! ```
//!
//! A root's owner that is heard before [`CollectorLocks::begin`] finds its path spared; one that
//! is heard later waits until the path is gone. Both look at one table under one mutex, so there
//! is no third case. Roots are matched by the hash part of their path alone, so lock files and
//! other siblings share the protection.

mod table;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use nix_base::{StoreDir, StorePathHash};

use super::error::{LockError, Result};
use super::flock::{LockMode, Wait};
use super::gc_listener::GcListener;
use super::gc_lock::GcLock;
use super::temp_roots::{TempRoot, TempRootsScan};
pub(super) use table::Table;

/// The locks of a running collector; dropping it ends the collection.
#[must_use = "the locks are released when this is dropped"]
#[derive(Debug)]
pub struct CollectorLocks {
    table: Arc<Table>,
    // Lock order: connections are closed before the collector lock is released, so that nobody
    // takes an answer for that of the next collector.
    _listener: GcListener,
    scan: TempRootsScan,
    _gc_lock: GcLock,
}

/// A path that is being deleted. Drop it once the path is neither valid nor on disk: that
/// answers those who meanwhile made it a root.
#[must_use = "others may use the path again once this is dropped"]
#[derive(Debug)]
pub struct Pending {
    table: Arc<Table>,
    hash: StorePathHash,
}

impl CollectorLocks {
    /// Takes the collector lock of the store with state directory `state_dir` and logical store
    /// directory `store_dir`, begins to listen for new temporary roots, and reads those that
    /// there are. `None` when another collector, or somebody who keeps collectors away, held the
    /// lock for as long as `wait` permits.
    ///
    /// # Errors
    /// The lock can't be had, the socket can't be made, or a file with temporary roots can't be
    /// read.
    pub fn acquire(state_dir: &Path, store_dir: &StoreDir, wait: Wait) -> Result<Option<Self>> {
        let Some(gc_lock) = GcLock::acquire(state_dir, LockMode::Exclusive, wait)? else {
            return Ok(None);
        };
        let table = Table::new()
            .map_err(|source| LockError::io("make an event counter for", state_dir, source))?;
        let table = Arc::new(table);
        let listener = GcListener::start(state_dir, store_dir.clone(), Arc::clone(&table))?;
        let scan = TempRootsScan::read(state_dir, store_dir)?;
        table.add(scan.roots().iter().map(|root| root.hash));
        Ok(Some(Self {
            table,
            _listener: listener,
            scan,
            _gc_lock: gc_lock,
        }))
    }

    /// The temporary roots that were on record when the locks were taken.
    pub fn recorded(&self) -> &[TempRoot] {
        self.scan.roots()
    }

    /// The hash parts of all temporary roots known by now. There may be more the next moment:
    /// they are seen by [`Self::begin`].
    pub fn temp_roots(&self) -> HashSet<StorePathHash> {
        self.table.roots()
    }

    /// Whether a path with this hash part is a temporary root by now.
    pub fn is_temp_root(&self, hash: &StorePathHash) -> bool {
        self.table.is_root(hash)
    }

    /// Whether somebody waits for a path that is being deleted: hurry up.
    pub fn is_awaited(&self) -> bool {
        self.table.is_awaited()
    }

    /// Begins to delete the path with this hash part; `None` if it is a temporary root, or is
    /// being deleted already. Until the value is dropped, nobody who makes the path a root gets
    /// an answer; so drop it soon, and after the path has gone.
    ///
    /// It can be called from any thread, for any number of paths at a time.
    pub fn begin(&self, hash: &StorePathHash) -> Option<Pending> {
        self.table.begin(hash).then(|| Pending {
            table: Arc::clone(&self.table),
            hash: *hash,
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.table.end(&self.hash);
    }
}

#[cfg(test)]
mod tests;
