//! Waiting for a locked database, for a bounded time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, ErrorCode};

use super::Db;
use crate::error::{Error, LockHolder, Result};

/// How long to wait for the locks of one database.
#[derive(Debug, Clone)]
pub(crate) struct BusyWait {
    file: PathBuf,
    budget: Duration,
}

impl BusyWait {
    pub(crate) fn new(file: &Path, budget: Duration) -> Self {
        Self {
            file: file.to_owned(),
            budget,
        }
    }

    /// Makes SQLite wait within `conn`, wherever it can wait by itself.
    pub(crate) fn install(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let wait = self.clone();
        let mut began = Instant::now();
        let mut notices = 0;
        conn.busy_handler(Some(move |attempt: i32| {
            if attempt == 0 {
                began = Instant::now();
                notices = 0;
            }
            wait.pause(began, attempt, &mut notices)
        }))
    }

    /// Repeats `operation` while the database is busy, for the cases in which SQLite
    /// doesn't wait by itself, such as a change of the journal mode.
    pub(crate) fn retry<T>(
        &self,
        action: &'static str,
        mut operation: impl FnMut() -> rusqlite::Result<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let mut notices = 0;
        let mut attempt = 0;
        loop {
            match operation() {
                Err(error) if is_busy(&error) => {
                    if !self.pause(began, attempt, &mut notices) {
                        return Err(self.busy_error(began.elapsed()));
                    }
                    attempt = attempt.saturating_add(1);
                }
                result => return result.map_err(|error| self.explain(action, error)),
            }
        }
    }

    /// Turns what SQLite said into what the user can act on.
    pub(crate) fn explain(&self, action: &'static str, error: rusqlite::Error) -> Error {
        let path = self.file.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::FileLockingProtocolFailed) => {
                self.busy_error(self.budget)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::CorruptDatabase {
                path,
                source: Box::new(error),
            },
            Some(ErrorCode::DiskFull) => Error::DatabaseFull {
                action,
                path,
                source: Box::new(error),
            },
            Some(ErrorCode::ReadOnly) => Error::ReadOnly { action, path },
            _ => Error::Database {
                action,
                path,
                source: Box::new(error),
            },
        }
    }

    /// Sleeps a little; false once the budget is spent.
    fn pause(&self, began: Instant, attempt: i32, notices: &mut u64) -> bool {
        let waited = began.elapsed();
        let Some(left) = self.budget.checked_sub(waited) else {
            return false;
        };
        if left.is_zero() {
            return false;
        }
        if waited.as_secs() / NOTICE_SECS > *notices {
            *notices = waited.as_secs() / NOTICE_SECS;
            tracing::warn!("SQLite database '{}' is busy", self.file.display());
        }
        let longest = 1 << u32::try_from(attempt.clamp(0, 6)).unwrap_or(6);
        // Two processes that wait in step would collide again: a little chance parts them.
        let chance = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| u64::from(now.subsec_nanos()) / 1000);
        let pause = Duration::from_micros(500 + chance % (longest * 1000));
        std::thread::sleep(pause.min(left));
        true
    }

    fn busy_error(&self, waited: Duration) -> Error {
        Error::DatabaseBusy {
            path: self.file.clone(),
            waited_secs: waited.as_secs(),
            holder: lock_holder(&self.file),
        }
    }
}

/// Results of SQLite, made into those of this crate.
pub(super) trait Explain<T> {
    /// Says what was being done to the database of `db` when it failed.
    fn explain(self, db: &Db, action: &'static str) -> Result<T>;
}

impl<T> Explain<T> for rusqlite::Result<T> {
    fn explain(self, db: &Db, action: &'static str) -> Result<T> {
        self.map_err(|error| db.busy.explain(action, error))
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::FileLockingProtocolFailed)
    )
}

/// The process with a write lock on the database, as far as Linux shows it.
fn lock_holder(file: &Path) -> Option<LockHolder> {
    let table = fs::read_to_string("/proc/locks").ok()?;
    let mut shared_memory = file.as_os_str().to_owned();
    shared_memory.push("-shm");
    // Only their inodes are looked at: opening and closing either file would drop the
    // locks that SQLite holds for this process.
    let pid = [Path::new(&shared_memory), file]
        .iter()
        .filter_map(|file| fs::symlink_metadata(file).ok())
        .find_map(|metadata| writer_of_inode(&table, metadata.ino()))?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm"))
        .ok()
        .map(|name| name.trim_end().to_owned());
    Some(LockHolder { pid, program })
}

/// Finds `N: POSIX ADVISORY WRITE PID MAJOR:MINOR:INODE FIRST LAST`. The device isn't
/// compared: stat and the kernel's table disagree about it on some file systems.
fn writer_of_inode(table: &str, inode: u64) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let kind = fields.next()?;
        let access = fields.nth(1)?;
        let pid = fields.next()?;
        let file = fields.next()?;
        let same = file.rsplit(':').next()?.parse() == Ok(inode);
        (kind == "POSIX" && access == "WRITE" && same)
            .then(|| pid.parse().ok())
            .flatten()
    })
}

/// Seconds between two notices that the database is busy.
const NOTICE_SECS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_writer_of_an_inode() {
        let table = "1: POSIX  ADVISORY  READ 41 fe:00:77 123 123\n\
                     2: FLOCK  ADVISORY  WRITE 42 fe:00:77 0 EOF\n\
                     3: -> POSIX  ADVISORY  WRITE 43 fe:00:77 120 120\n\
                     4: POSIX  ADVISORY  WRITE 44 fe:00:78 120 120\n\
                     5: POSIX  ADVISORY  WRITE 45 fe:00:77 120 120\n";
        assert_eq!(writer_of_inode(table, 77), Some(45));
        assert_eq!(writer_of_inode(table, 78), Some(44));
        assert_eq!(writer_of_inode(table, 79), None);
    }
}
