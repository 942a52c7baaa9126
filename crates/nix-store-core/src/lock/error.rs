//! Why a lock could not be had or a root not be recorded.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of a lock, of a temporary root, or of the talk with a running collector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A system call failed.
    #[error("cannot {operation} '{}'", path.display())]
    Io {
        /// What was tried, as a verb phrase that the path completes.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The name of a path to lock is not a single file name.
    #[error("cannot lock '{name}' in '{}': it is not a file name", dir.display())]
    BadName {
        /// The refused name.
        name: String,
        /// The store directory.
        dir: PathBuf,
    },
    /// Something other than a regular file has the lock file's name.
    #[error("cannot lock '{}': it is not a regular file", path.display())]
    NotRegular {
        /// The lock file.
        path: PathBuf,
    },
    /// The calling thread holds this lock already, so that waiting would never end.
    #[error("cannot wait for '{}': this thread holds it already", path.display())]
    AlreadyHeld {
        /// The lock file.
        path: PathBuf,
    },
    /// A path that isn't in the store was to be recorded; in the file it would make collectors fail.
    #[error(
        "cannot record '{path}' as a temporary root: it is not a path in the store '{store_dir}'"
    )]
    NotInStore {
        /// The refused path.
        path: String,
        /// The logical store directory.
        store_dir: String,
    },
    /// The name of a file with temporary roots doesn't begin with the number of a process.
    #[error("cannot tell whose temporary roots are in '{}': its name has no process number", path.display())]
    NoOwner {
        /// The file.
        path: PathBuf,
    },
    /// A file with temporary roots holds what isn't a path in the store.
    #[error("cannot read temporary roots from '{}': {record} is not a path in the store", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// The record, quoted and escaped.
        record: String,
    },
    /// A running collector answered an announced root with something other than its `1`.
    #[error("cannot announce a root on '{}': the collector answered byte {answer:#04x}", path.display())]
    BadAnswer {
        /// The collector's socket.
        path: PathBuf,
        /// What it sent.
        answer: u8,
    },
}

/// The result of a lock operation.
pub type Result<T, E = LockError> = std::result::Result<T, E>;

impl LockError {
    /// True when the calling thread would have waited for itself.
    pub fn is_already_held(&self) -> bool {
        matches!(self, Self::AlreadyHeld { .. })
    }

    pub(super) fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}
