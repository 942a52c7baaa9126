//! The files of one build.

use std::fs::File;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::status::{Ending, Status};
use crate::slots::{LockDirectory, LockError};

/// The files of a build, open.
#[derive(Debug)]
pub(super) struct RunFiles {
    pub(super) dir: LockDirectory,
    pub(super) key: String,
    pub(super) owner: File,
    pub(super) watchers: File,
    pub(super) log: File,
    pub(super) status: Status,
}

/// What one who asks for a build finds.
#[derive(Debug)]
pub(super) enum Joined {
    /// Nobody builds it; now the caller does.
    Owner(RunFiles),
    /// Somebody builds it; the caller counts as watching until the files are closed.
    Watcher(RunFiles),
    /// It was built, and the result was kept.
    Kept {
        /// What the builder wrote.
        log: File,
        /// How it ended.
        ending: Ending,
    },
}

/// Finds or makes the files of the build `key`. To be called with the gate held.
pub(super) fn join(root: &LockDirectory, key: &str) -> Result<Joined, LockError> {
    let dir = root.create_dir(key)?;
    let owner = dir.open(OWNER)?;
    if dir.try_lock(&owner, OWNER)? {
        if let Some((log, ending)) = kept(&dir)? {
            return Ok(Joined::Kept { log, ending });
        }
        // Whoever watched the one before has its files open.
        for name in [WATCHERS, LOG, STATUS, REQUEST] {
            dir.remove(name)?;
        }
    } else {
        let files = open_files(dir, key, owner)?;
        // It is tried exclusively only with the gate held.
        files.dir.try_lock_shared(&files.watchers, WATCHERS)?;
        return Ok(Joined::Watcher(files));
    }
    Ok(Joined::Owner(open_files(dir, key, owner)?))
}

/// Opens the files of a build, which are made if they aren't there.
pub(super) fn open_files(
    dir: LockDirectory,
    key: &str,
    owner: File,
) -> Result<RunFiles, LockError> {
    Ok(RunFiles {
        watchers: dir.open(WATCHERS)?,
        log: dir.open_append(LOG)?,
        status: Status(dir.open(STATUS)?),
        key: key.to_owned(),
        owner,
        dir,
    })
}

fn kept(dir: &LockDirectory) -> Result<Option<(File, Ending)>, LockError> {
    let (Some(status), Some(log)) = (dir.open_existing(STATUS)?, dir.open_existing(LOG)?) else {
        return Ok(None);
    };
    // A status that can't be read is none.
    let ending = Status(status).read_ending().ok().flatten();
    Ok(ending
        .filter(|ending| ending.kept_until > seconds_now())
        .map(|ending| (log, ending)))
}

/// Whether nobody is building in `dir`: there is a result, or nothing at all.
pub(super) fn has_ended(dir: &LockDirectory) -> Result<bool, LockError> {
    Ok(match dir.open_existing(STATUS)? {
        None => true,
        Some(status) => matches!(Status(status).read_ending(), Ok(Some(_))),
    })
}

/// Removes the files of the build `key`. To be called with the gate held, by its owner.
pub(super) fn remove(
    root: &LockDirectory,
    dir: &LockDirectory,
    key: &str,
) -> Result<(), LockError> {
    for name in [WATCHERS, LOG, STATUS, REQUEST, OWNER] {
        dir.remove(name)?;
    }
    root.remove_dir(key)
}

/// Removes what dead owners left, and results whose time is over. To be called with the
/// gate held.
pub(super) fn sweep(root: &LockDirectory) -> Result<(), LockError> {
    let mut keys = Vec::new();
    root.names(|name| {
        if name != "gate" {
            keys.push(name.to_owned());
        }
    })?;
    for key in keys {
        let dir = root.create_dir(&key)?;
        let owner = dir.open(OWNER)?;
        if dir.try_lock(&owner, OWNER)? && kept(&dir)?.is_none() {
            remove(root, &dir, &key)?;
        }
    }
    Ok(())
}

impl RunFiles {
    /// Whether a client of another process watches. To be called with the gate held.
    pub(super) fn is_watched(&self) -> Result<bool, LockError> {
        if !self.dir.try_lock(&self.watchers, WATCHERS)? {
            return Ok(true);
        }
        self.dir.unlock(&self.watchers, WATCHERS)?;
        Ok(false)
    }

    /// Whether the owner is gone. To be called with the gate held.
    pub(super) fn is_orphaned(&self) -> Result<bool, LockError> {
        if !self.dir.try_lock(&self.owner, OWNER)? {
            return Ok(false);
        }
        self.dir.unlock(&self.owner, OWNER)?;
        Ok(true)
    }

    /// Counts the caller as watching.
    pub(super) fn watch(&self) -> Result<bool, LockError> {
        self.dir.try_lock_shared(&self.watchers, WATCHERS)
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.dir.path().join(LOG)
    }
}

pub(super) fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

pub(super) const OWNER: &str = "owner";
pub(super) const REQUEST: &str = "request";
const WATCHERS: &str = "watchers";
const LOG: &str = "log";
const STATUS: &str = "status";
