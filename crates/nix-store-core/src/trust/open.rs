//! Making and opening the file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, FileControl, OpenFlags};
use rustix::process::geteuid;

use super::TrustDb;
use crate::db::BusyWait;
use crate::error::{Error, Result};

impl TrustDb {
    /// Whether there is a file for the store with this state directory.
    #[must_use]
    pub fn is_there(state_dir: &Path) -> bool {
        fs::symlink_metadata(state_dir.join(DIRECTORY).join(FILE)).is_ok()
    }

    /// Opens the file of the store with this state directory, and makes it if it isn't
    /// there.
    ///
    /// # Errors
    /// The file can't be made or read, or somebody else may read or change it.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let dir = state_dir.join(DIRECTORY);
        make_dir(&dir)?;
        let file = dir.join(FILE);
        make_file(&file)?;
        refuse_insecure(&file)?;
        let busy = BusyWait::new(&file, BUSY_TIMEOUT);
        let conn = connect(&file, &busy)?;
        let db = Self { conn, file, busy };
        // Only who finds no tables has to wait for writers.
        if db.read(version)? != VERSION {
            db.make_tables()?;
        }
        Ok(db)
    }

    fn make_tables(&self) -> Result<()> {
        let found = self.write("make the tables of", |conn| {
            let found = version(conn)?;
            if found == 0 {
                conn.execute_batch(SCHEMA)?;
                conn.pragma_update(None, "user_version", VERSION)?;
            }
            Ok(found)
        })?;
        if found > VERSION {
            let path = self.file.clone();
            return Err(Error::NewerFile { path, found });
        }
        Ok(())
    }
}

fn connect(file: &Path, busy: &BusyWait) -> Result<Connection> {
    let explain = |error| busy.explain("open", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(file, flags).map_err(explain)?;
    busy.install(&mut conn).map_err(explain)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)
        .map_err(explain)?;
    conn.pragma_update(None, "synchronous", "normal")
        .map_err(explain)?;
    conn.pragma_update(None, "cache_size", CACHE_KIB)
        .map_err(explain)?;
    busy.retry("open", || {
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
    })?;
    // The log stays behind, empty: making and removing it costs more than most sessions.
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES)
        .map_err(explain)?;
    let mut persist = 1;
    conn.file_control(Some("main"), FileControl::PersistWal(&mut persist))
        .map_err(explain)?;
    conn.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(conn)
}

/// The version of the tables; 0 if there are none.
fn version(conn: &Connection) -> rusqlite::Result<u32> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn make_dir(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("make", dir, error))
        }
        _ => Ok(()),
    }
}

/// Makes an empty file, which is an empty database. Who comes second finds it there.
fn make_file(file: &Path) -> Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("make", file, error))
        }
        _ => Ok(()),
    }
}

/// Refuses a file that isn't the owner's own. As only the owner can change what is in the
/// directory, it stays so.
fn refuse_insecure(file: &Path) -> Result<()> {
    let insecure = |path: &Path, problem| Error::Insecure {
        path: path.to_owned(),
        problem,
    };
    let dir = file.parent().unwrap_or(Path::new("/"));
    let metadata = fs::symlink_metadata(dir).map_err(|error| Error::io("look at", dir, error))?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        let problem = "must be a directory that only the store's owner can change";
        return Err(insecure(dir, problem));
    }
    let metadata = fs::symlink_metadata(file).map_err(|error| Error::io("look at", file, error))?;
    if !metadata.is_file() {
        return Err(insecure(file, "is not a regular file"));
    }
    if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        let problem = "must belong to the store's owner and be closed to all others";
        return Err(insecure(file, problem));
    }
    Ok(())
}

const DIRECTORY: &str = "nix-serve";
const FILE: &str = "trust.sqlite";
const SCHEMA: &str = include_str!("schema.sql");
/// That of the tables in the schema.
const VERSION: u32 = 1;
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);
const CACHE_KIB: i64 = -4096;
/// Most bytes of the log that are kept beyond what is in it.
const LOG_BYTES: i64 = 1 << 20;
const STATEMENT_CACHE: usize = 32;
