//! The locks and temporary roots by which processes share one store.
//!
//! Every lock is a whole-file `flock(2)`, as in Nix 2.3 and later, so that a real Nix and this
//! crate exclude each other on one store. `docs/formats/locks.md` describes the files.
//!
//! Lock order, outermost first; a process that holds one may take those after it only:
//!
//! 1. [`BigLock`], shared, for as long as the store is open;
//! 2. [`TempRoots`], before anything is asked about the paths (a root protects the path's lock
//!    file from collectors as well);
//! 3. [`PathLocks`], all of a batch in ascending order;
//! 4. the database transaction.
//!
//! [`GcLock`] stands beside them: a collector holds it exclusively and takes no path locks, and
//! [`TempRoots::add`] only ever *tries* it, so nobody waits for it while holding a path lock that
//! the collector could want.

mod big_lock;
mod collector;
mod error;
mod flock;
mod gc_listener;
mod gc_lock;
mod gc_socket;
mod held;
mod path_locks;
mod temp_roots;
#[cfg(test)]
mod testing;

pub use big_lock::BigLock;
pub use collector::{CollectorLocks, Pending};
pub use error::{LockError, Result};
pub use flock::{LockMode, Wait};
pub use gc_lock::GcLock;
pub use path_locks::{LockDir, PathLock, PathLocks};
pub use temp_roots::{TempRoot, TempRoots, TempRootsScan};

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens the lock file at `path`, which is created with mode 0600 when it isn't there.
fn open_lock_file(path: &Path) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(|source| LockError::io("open lock file", path, source))
}
