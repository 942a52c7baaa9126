//! The collector lock, `STATE/gc.lock`: exclusive for a whole collection, shared for those who
//! must not run beside one.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::{LockError, Result};
use super::flock::{self, LockMode, Wait};

/// A hold of the collector lock; dropping it lets go.
#[must_use = "the lock is released when this is dropped"]
#[derive(Debug)]
pub struct GcLock {
    _file: File,
}

/// The open lock file, not locked: for asking over and over whether a collector runs.
#[derive(Debug)]
pub(super) struct GcLockFile {
    file: File,
    path: PathBuf,
}

impl GcLock {
    /// Takes the collector lock of the store with state directory `state_dir`: shared to keep
    /// collectors away (as verification does), exclusive to collect. `None` when it stayed busy for
    /// as long as `wait` permits.
    ///
    /// # Errors
    /// If the lock file can't be created, opened or locked.
    pub fn acquire(state_dir: &Path, mode: LockMode, wait: Wait) -> Result<Option<Self>> {
        let GcLockFile { file, path } = GcLockFile::open(state_dir)?;
        let announce =
            || tracing::info!(path = %path.display(), "waiting for the garbage collector lock");
        let taken = flock::lock(&file, mode, wait, announce)
            .map_err(|source| LockError::io("lock", &path, source))?;
        Ok(taken.then_some(Self { _file: file }))
    }
}

impl GcLockFile {
    pub(super) fn open(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join("gc.lock");
        let file = super::open_lock_file(&path)?;
        Ok(Self { file, path })
    }

    /// True if at some moment during this call no collector ran.
    pub(super) fn is_free(&self) -> Result<bool> {
        let taken = flock::try_lock(&self.file, LockMode::Shared)
            .map_err(|source| LockError::io("lock", &self.path, source))?;
        if taken {
            flock::unlock(&self.file)
                .map_err(|source| LockError::io("unlock", &self.path, source))?;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_free_only_without_a_collector_and_lets_go_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let asked = GcLockFile::open(dir.path()).unwrap();
        let acquire = |mode| GcLock::acquire(dir.path(), mode, Wait::Never).unwrap();

        assert!(asked.is_free().unwrap());
        let collector = acquire(LockMode::Exclusive).unwrap();
        assert!(!asked.is_free().unwrap());
        drop(collector);
        let _verifier = acquire(LockMode::Shared).unwrap();
        assert!(asked.is_free().unwrap());
        assert!(acquire(LockMode::Exclusive).is_none());
    }
}
