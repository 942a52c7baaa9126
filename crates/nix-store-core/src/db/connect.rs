//! Opening the database, and the transactions on it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix_base::StoreDir;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, FileControl, OpenFlags, Transaction, TransactionBehavior};

use super::Db;
use super::busy::BusyWait;
use crate::error::{Error, Result};

/// What survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Nothing is flushed: a power cut may leave valid paths without content.
    None,
    /// Content is on stable storage before the row that makes it valid can be; the last
    /// registrations may be lost.
    #[default]
    Ordered,
    /// In addition, a registration that was reported is never lost.
    Full,
}

/// How the database protects transactions; all processes on a store must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JournalMode {
    /// Write-ahead log, Nix's default.
    #[default]
    Wal,
    /// Rollback journal and lock files, for file systems without shared memory.
    Truncate,
}

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Read and write an existing database.
    ReadWrite,
    /// Read and write, and make the file when it is missing.
    Create,
    /// Read only, also from a read-only file system.
    ReadOnly,
}

/// Everything that opening takes.
#[derive(Debug, Clone)]
pub(crate) struct DbOptions {
    pub(crate) file: PathBuf,
    pub(crate) store_dir: StoreDir,
    pub(crate) mode: OpenMode,
    pub(crate) durability: Durability,
    pub(crate) journal: JournalMode,
    pub(crate) busy_timeout: Duration,
}

impl Db {
    /// Opens the database. It does not look at the schema.
    pub(crate) fn open(options: &DbOptions) -> Result<Self> {
        let busy = BusyWait::new(&options.file, options.busy_timeout);
        let conn = match options.mode {
            OpenMode::ReadOnly => connect_read_only(options, &busy)?,
            OpenMode::ReadWrite => connect_writable(options, &busy, OpenFlags::empty())?,
            OpenMode::Create => connect_writable(options, &busy, OpenFlags::SQLITE_OPEN_CREATE)?,
        };
        conn.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        Ok(Self {
            conn,
            store_dir: options.store_dir.clone(),
            file: options.file.clone(),
            busy,
            read_only: options.mode == OpenMode::ReadOnly,
        })
    }

    /// Runs `body` in a transaction that has the right to write from its start, and
    /// commits unless it fails.
    pub(super) fn write_transaction<T>(
        &self,
        action: &'static str,
        body: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        if self.read_only {
            return Err(Error::ReadOnly {
                action,
                path: self.file.clone(),
            });
        }
        let transaction = self.busy.retry(action, || {
            Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)
        })?;
        let value = body(&transaction)?;
        // With a rollback journal, readers may hold up the commit: it stays open meanwhile.
        self.busy
            .retry(action, || transaction.execute_batch("commit"))?;
        Ok(value)
    }

    /// Runs `body` on one unchanging state of the database.
    pub(super) fn read_transaction<T>(
        &self,
        body: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let transaction = self.busy.retry("read", || {
            let transaction =
                Transaction::new_unchecked(&self.conn, TransactionBehavior::Deferred)?;
            // A deferred transaction begins with its first read; only this can be busy.
            transaction.prepare_cached(TOUCH)?.exists([])?;
            Ok(transaction)
        })?;
        body(&transaction)
    }
}

fn connect_writable(options: &DbOptions, busy: &BusyWait, extra: OpenFlags) -> Result<Connection> {
    let explain = |error| busy.explain("open", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
    let mut conn = match options.journal {
        JournalMode::Wal => Connection::open_with_flags(&options.file, flags),
        // Nix compat: whoever goes without the log locks by files, not by fcntl.
        JournalMode::Truncate => {
            Connection::open_with_flags_and_vfs(&options.file, flags, c"unix-dotfile")
        }
    }
    .map_err(explain)?;
    busy.install(&mut conn).map_err(explain)?;
    if conn.is_readonly("main").map_err(explain)? {
        return Err(Error::ReadOnly {
            action: "open for writing",
            path: options.file.clone(),
        });
    }
    set_safety(&conn, options.durability).map_err(explain)?;
    busy.retry("open", || set_journal_mode(&conn, options.journal))?;
    Ok(conn)
}

fn set_safety(conn: &Connection, durability: Durability) -> rusqlite::Result<()> {
    // Without it, deleting a path would leave its rows in Refs behind.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    let synchronous = match durability {
        Durability::None => "off",
        Durability::Ordered => "normal",
        Durability::Full => "full",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "cache_size", CACHE_KIB)
}

fn set_journal_mode(conn: &Connection, mode: JournalMode) -> rusqlite::Result<()> {
    let wanted = match mode {
        JournalMode::Wal => "wal",
        JournalMode::Truncate => "truncate",
    };
    let mode_of = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let current = conn.pragma_query_value(Some("main"), "journal_mode", mode_of)?;
    if current != wanted {
        conn.pragma_update_and_check(Some("main"), "journal_mode", wanted, mode_of)?;
    }
    if mode == JournalMode::Wal {
        conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        // The log stays behind, empty, for users who may read but not make files.
        conn.pragma_update(None, "journal_size_limit", JOURNAL_LIMIT)?;
        let mut persist = 1;
        conn.file_control(Some("main"), FileControl::PersistWal(&mut persist))?;
    }
    Ok(())
}

fn connect_read_only(options: &DbOptions, busy: &BusyWait) -> Result<Connection> {
    let explain = |error| busy.explain("open", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&options.file, flags).map_err(explain)?;
    busy.install(&mut conn).map_err(explain)?;
    let has_log = busy.retry("read", || match touch(&conn) {
        Err(error) if needs_shared_memory(&error) => Ok(false),
        result => result.map(|()| true),
    })?;
    if !has_log {
        conn = connect_immutable(options, busy, flags)?;
    }
    conn.pragma_update(None, "cache_size", CACHE_KIB)
        .map_err(explain)?;
    Ok(conn)
}

/// Reads the file alone, without locks: right only while nobody can write it.
fn connect_immutable(options: &DbOptions, busy: &BusyWait, flags: OpenFlags) -> Result<Connection> {
    let mut log = options.file.as_os_str().to_owned();
    log.push("-wal");
    if fs::symlink_metadata(&log).is_ok_and(|metadata| metadata.len() > 0) {
        return Err(Error::UnappliedLog {
            path: options.file.clone(),
        });
    }
    let uri = format!("file:{}?immutable=1", percent_encoded(&options.file));
    let conn = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        .map_err(|error| busy.explain("open", error))?;
    busy.retry("read", || touch(&conn))?;
    Ok(conn)
}

fn touch(conn: &Connection) -> rusqlite::Result<()> {
    conn.prepare_cached(TOUCH)?.exists([]).map(drop)
}

/// Whether SQLite could not make the files beside the database that a log needs.
fn needs_shared_memory(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    )
}

fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~+".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Begins a read without looking at a table.
const TOUCH: &str = "select 1 from sqlite_schema limit 1";
const STATEMENT_CACHE: usize = 32;
/// Nix's number of log pages before they are applied.
const CHECKPOINT_PAGES: i64 = 40_000;
const JOURNAL_LIMIT: i64 = 1 << 40;
/// Upper bound of SQLite's page cache; negative means KiB. It grows only as far as a
/// query needs it.
pub(super) const CACHE_KIB: i64 = -65_536;
