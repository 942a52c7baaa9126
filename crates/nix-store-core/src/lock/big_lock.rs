//! The big lock, `STATE/db/big-lock`: shared while a store is open, exclusive while its schema is
//! being changed.

use std::fs::File;
use std::path::Path;

use super::error::{LockError, Result};
use super::flock::{self, LockMode, Wait};

/// A hold of the big lock; dropping it lets go.
#[must_use = "the lock is released when this is dropped"]
#[derive(Debug)]
pub struct BigLock {
    _file: File,
}

impl BigLock {
    /// Takes the big lock of the store whose database directory (`STATE/db`) is `db_dir`. `None`
    /// when it stayed busy for as long as `wait` permits.
    ///
    /// Release a shared hold before asking for an exclusive one: two processes that both upgrade
    /// would wait for each other.
    ///
    /// # Errors
    /// If the lock file can't be created, opened or locked.
    pub fn acquire(db_dir: &Path, mode: LockMode, wait: Wait) -> Result<Option<Self>> {
        let path = db_dir.join("big-lock");
        let file = super::open_lock_file(&path)?;
        let announce = || tracing::info!(path = %path.display(), "waiting for the big store lock");
        let taken = flock::lock(&file, mode, wait, announce)
            .map_err(|source| LockError::io("lock", &path, source))?;
        Ok(taken.then_some(Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(dir: &Path, mode: LockMode) -> Option<BigLock> {
        BigLock::acquire(dir, mode, Wait::Never).expect("a lock file in a fresh directory")
    }

    #[test]
    fn shared_holders_exclude_an_exclusive_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = acquire(dir.path(), LockMode::Shared).unwrap();
        let second = acquire(dir.path(), LockMode::Shared).unwrap();
        assert!(acquire(dir.path(), LockMode::Exclusive).is_none());
        drop((first, second));
        let _alone = acquire(dir.path(), LockMode::Exclusive).unwrap();
        assert!(acquire(dir.path(), LockMode::Shared).is_none());
    }
}
