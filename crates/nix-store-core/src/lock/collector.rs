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
//! A root's owner that gets its answer before [`CollectorLocks::begin`] finds its path spared; one
//! that comes later waits until the path is gone. Both look at one table under one mutex, so
//! there is no third case. Roots are matched by the hash part of their path alone, so lock files
//! and other siblings share the protection.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix_base::{StoreDir, StorePathHash};

use super::error::Result;
use super::flock::{LockMode, Wait};
use super::gc_lock::GcLock;

/// The locks of a running collector; dropping it ends the collection.
#[must_use = "the locks are released when this is dropped"]
#[derive(Debug)]
pub struct CollectorLocks {
    table: Arc<Table>,
    // Lock order: the collector lock is released last.
    _gc_lock: GcLock,
}

/// A path that is being deleted. Dropping it answers those who meanwhile made it a root: call it
/// once the path is neither valid nor on disk.
#[must_use = "others may use the path again once this is dropped"]
#[derive(Debug)]
pub struct Pending {
    table: Arc<Table>,
    hash: StorePathHash,
}

/// The roots known, and the paths being deleted.
#[derive(Debug, Default)]
struct Table {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    roots: HashSet<StorePathHash>,
    pending: HashSet<StorePathHash>,
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
    pub fn acquire(state_dir: &Path, _store_dir: &StoreDir, wait: Wait) -> Result<Option<Self>> {
        let Some(gc_lock) = GcLock::acquire(state_dir, LockMode::Exclusive, wait)? else {
            return Ok(None);
        };
        let table = Arc::new(Table::default());
        Ok(Some(Self {
            table,
            _gc_lock: gc_lock,
        }))
    }

    /// The hash parts of all temporary roots known by now. There may be more the next moment:
    /// they are seen by [`Self::begin`].
    pub fn temp_roots(&self) -> HashSet<StorePathHash> {
        self.table.lock().roots.clone()
    }

    /// Whether a path with this hash part is a temporary root by now.
    pub fn is_temp_root(&self, hash: &StorePathHash) -> bool {
        self.table.lock().roots.contains(hash)
    }

    /// Begins to delete the path with this hash part; `None` if it is a temporary root, or is
    /// being deleted already. Until the value is dropped, nobody who makes the path a root gets
    /// an answer; so drop it soon, and after the path has gone.
    ///
    /// It can be called from any thread, for any number of paths at a time.
    pub fn begin(&self, hash: &StorePathHash) -> Option<Pending> {
        let mut state = self.table.lock();
        if state.roots.contains(hash) || !state.pending.insert(*hash) {
            return None;
        }
        Some(Pending {
            table: Arc::clone(&self.table),
            hash: *hash,
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.table.lock().pending.remove(&self.hash);
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
