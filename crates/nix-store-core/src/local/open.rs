//! Opening a store, and making one.
//!
//! Any number of processes may make the same store at once, real Nix among them: every
//! step can be repeated, the tables are made in one transaction, and the schema file, which
//! tells that all is there, comes last and appears complete.

mod dirs;
mod schema_file;

use std::cell::RefCell;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{getegid, geteuid, getgid, getuid};

use super::LocalStore;
use crate::db::{Db, DbOptions, Durability, JournalMode, OpenMode, SCHEMA_VERSION};
use crate::error::{Error, Result};
use crate::gc::{AutoGc, AutoGcState, reserved};
use crate::layout::StoreLayout;
use crate::lock::{BigLock, LockMode, TempRoots, Wait};

/// What may be done with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Read and write; fails if it can't be written.
    #[default]
    ReadWrite,
    /// Read only. Nothing is locked or made that the rights don't allow.
    ReadOnly,
    /// Read and write if permitted, else read only.
    Auto,
}

/// How to open a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where the store's files are.
    pub layout: StoreLayout,
    /// What survives a power cut.
    pub durability: Durability,
    /// What may be done with the store.
    pub access: Access,
    /// Whether to make the store when there is none.
    pub create: bool,
    /// How long to wait for other processes that write to the database.
    pub busy_timeout: Duration,
    /// Whether the store directory or a parent may be a symlink.
    pub allow_symlinked_store: bool,
    /// How the database protects transactions.
    pub journal: JournalMode,
    /// Whether files of new paths become hard links to files with the same contents.
    pub auto_optimise: bool,
    /// When garbage is collected before something is added or built, if ever.
    pub auto_gc: Option<AutoGc>,
    /// The group of the users that run builds. When root opens the store, the store
    /// directory is given to this group, which may then make files in it.
    pub build_users_group: Option<String>,
    /// How many bytes are kept back on disk, so that a collector can begin when there is no room
    /// left; 0: none.
    pub reserved_bytes: u64,
}

impl StoreConfig {
    /// The defaults, for a store at `layout`.
    pub fn new(layout: StoreLayout) -> Self {
        Self {
            layout,
            durability: Durability::default(),
            access: Access::default(),
            create: false,
            busy_timeout: BUSY_TIMEOUT,
            allow_symlinked_store: false,
            journal: JournalMode::default(),
            auto_optimise: false,
            auto_gc: None,
            build_users_group: None,
            reserved_bytes: RESERVED_BYTES,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self::new(StoreLayout::default())
    }
}

impl LocalStore {
    /// Opens a store of schema 10, or makes one if `config.create` says so.
    ///
    /// # Errors
    /// There is no store; it has another schema or is damaged; it is a symlink; it can't be
    /// written although it should; the program runs set-user-ID.
    pub fn open(config: StoreConfig) -> Result<Self> {
        refuse_set_user_id()?;
        if !config.allow_symlinked_store {
            dirs::refuse_symlinks(&config.layout.real_store)?;
        }
        match config.access {
            Access::ReadWrite => open_writable(config),
            Access::ReadOnly => open_read_only(config),
            Access::Auto => match open_writable(config.clone()) {
                // If there is nothing to read either, what kept the store from being made is
                // what the user wants to know.
                Err(error) if error.is_forbidden() => match open_read_only(config) {
                    Err(missing) if missing.is_no_store() => Err(error),
                    result => result,
                },
                result => result,
            },
        }
    }

    /// Makes the store if there is none, and opens it.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn init(config: StoreConfig) -> Result<Self> {
        Self::open(StoreConfig {
            create: true,
            ..config
        })
    }
}

fn open_writable(config: StoreConfig) -> Result<LocalStore> {
    let layout = &config.layout;
    if !config.create && schema_file::read(layout)?.is_none() {
        return Err(no_store(layout));
    }
    dirs::make_all(layout)?;
    dirs::refuse_insecure(layout)?;
    if let Some(group) = &config.build_users_group {
        dirs::give_to_group(&layout.real_store, group)?;
    }
    let big_lock = BigLock::acquire(&layout.db_dir(), LockMode::Shared, Wait::Forever)
        .map_err(|error| Error::lock("open the store", error))?;
    // Read again: until now, an upgrade may have been under way.
    let existing = schema_file::read(layout)?;
    check_version(existing)?;
    let mode = match existing {
        Some(_) => OpenMode::ReadWrite,
        None => OpenMode::Create,
    };
    if existing.is_some() {
        dirs::require_database(layout)?;
    }
    let db = Db::open(&db_options(&config, mode))?;
    if existing.is_none() {
        db.create_tables()?;
        schema_file::write(layout, config.durability)?;
    }
    reserved::renew(layout, config.reserved_bytes);
    finish(config, Access::ReadWrite, db, big_lock)
}

fn open_read_only(config: StoreConfig) -> Result<LocalStore> {
    let layout = &config.layout;
    let existing = schema_file::read(layout)?;
    if existing.is_none() {
        return Err(no_store(layout));
    }
    check_version(existing)?;
    dirs::require_database(layout)?;
    // Whoever can't open the lock can't be waited for by an upgrade either; readers notice
    // an upgrade by SQLite's own locks.
    let big_lock = BigLock::acquire(&layout.db_dir(), LockMode::Shared, Wait::Forever)
        .ok()
        .flatten();
    let db = Db::open(&db_options(&config, OpenMode::ReadOnly))?;
    finish(config, Access::ReadOnly, db, big_lock)
}

fn finish(
    config: StoreConfig,
    access: Access,
    db: Db,
    big_lock: Option<BigLock>,
) -> Result<LocalStore> {
    db.check_tables()?;
    let layout = &config.layout;
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !config.allow_symlinked_store {
        flags |= OFlags::NOFOLLOW;
    }
    let store_fd = rustix::fs::open(&layout.real_store, flags, Mode::empty())
        .map_err(|error| Error::io("open the store directory", &layout.real_store, error))?;
    let temp_roots = TempRoots::new(&layout.state, layout.store_dir.as_str());
    Ok(LocalStore {
        config: StoreConfig { access, ..config },
        store_fd,
        db,
        temp_roots: RefCell::new(temp_roots),
        auto_gc: AutoGcState::default(),
        _big_lock: big_lock,
    })
}

fn db_options(config: &StoreConfig, mode: OpenMode) -> DbOptions {
    DbOptions {
        file: config.layout.db_file(),
        store_dir: config.layout.store_dir.clone(),
        mode,
        durability: config.durability,
        journal: config.journal,
        busy_timeout: config.busy_timeout,
    }
}

fn no_store(layout: &StoreLayout) -> Error {
    Error::NoStore {
        state: layout.state.clone(),
    }
}

fn check_version(found: Option<u32>) -> Result<()> {
    match found {
        Some(found) if found != SCHEMA_VERSION => Err(Error::UnsupportedSchema {
            found,
            supported: SCHEMA_VERSION,
        }),
        _ => Ok(()),
    }
}

fn refuse_set_user_id() -> Result<()> {
    let (real_uid, effective_uid) = (getuid().as_raw(), geteuid().as_raw());
    let (real_gid, effective_gid) = (getgid().as_raw(), getegid().as_raw());
    if real_uid == effective_uid && real_gid == effective_gid {
        return Ok(());
    }
    Err(Error::SetUserId {
        real_uid,
        effective_uid,
        real_gid,
        effective_gid,
    })
}

/// As much as Nix.
const RESERVED_BYTES: u64 = 8 << 20;

/// Nix waits for an hour; a client gives up long before.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
