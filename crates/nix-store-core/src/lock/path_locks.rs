//! Path locks: who may create, replace or remove one path of the store.
//!
//! The lock of a path is `<real path>.lock` beside it. The protocol, shared with every Nix since
//! 2.3 (`docs/formats/locks.md`):
//!
//! ```text
//! loop:     fd = open(O_RDWR|O_CREAT|O_NOFOLLOW|O_CLOEXEC, 0600)
//!           flock(fd, LOCK_EX)
//!           fstat(fd): size 0 and still linked → held
//!                      no longer linked        → the owner before us removed it: loop
//!                      linked, but size not 0  → left by a fault: remove it, loop
//! release:  if removal was requested: unlink(name), then ftruncate(fd, 1)
//!           close(fd)
//! ```
//!
//! Why this excludes. Only the holder of the lock of an inode unlinks its name, and it does so
//! before it lets go. So whoever gets the lock of an inode that is still linked is the only one to
//! have the lock under this name; whoever gets it later finds the inode unlinked and starts again
//! with the name. Real Nix doesn't look at the link count but at the size, hence the mark (where
//! real Nix writes a byte). It follows the unlink, since a file that is linked and not empty makes
//! every Nix spin for ever; a death between the two leaves the name free and the inode unlinked,
//! which is harmless.
//!
//! Collectors remove lock files whose path isn't a root: take a temporary root for the path
//! ([`TempRoots`](super::TempRoots)) before its lock.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{LockError, Result};
use super::flock::{self, LockMode, Wait};
use super::held::{Claim, Claiming};

/// The directory that lock files live in: the real (physical) store directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LockDir {
    inner: Arc<Dir>,
}

#[derive(Debug)]
struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Device and inode, which name the directory in the table of held locks.
    id: (u64, u64),
}

/// The lock of one path. Dropping it releases it.
#[must_use = "the lock is released when this is dropped"]
#[derive(Debug)]
pub struct PathLock {
    // Lock order: the file is closed before the claim is handed to another thread.
    file: File,
    claim: Claim,
    dir: LockDir,
    removal: bool,
}

/// The locks of several paths. Dropping them releases all.
#[must_use = "the locks are released when this is dropped"]
#[derive(Debug, Default)]
pub struct PathLocks {
    /// Those taken together in ascending order of the names.
    locks: Vec<PathLock>,
}

impl LockDir {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// If it isn't a directory that can be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|source| LockError::io("open store directory", path, source))?;
        Self::from_fd(fd, path)
    }

    /// Uses the open directory `fd`; `path` is for messages.
    ///
    /// # Errors
    /// If the descriptor can't be examined.
    pub fn from_fd(fd: OwnedFd, path: &Path) -> Result<Self> {
        let stat = rustix::fs::fstat(&fd)
            .map_err(|source| LockError::io("examine store directory", path, source))?;
        let inner = Dir {
            fd,
            path: path.to_owned(),
            id: (stat.st_dev, stat.st_ino),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Locks the path with base name `name` (`<hash>-<name>`, or `<drv>.<output>` for an output
    /// whose path isn't known yet). `None` when the lock stayed busy for as long as `wait` permits.
    ///
    /// Locks held by another thread of this process count as busy, too, and are waited for.
    ///
    /// # Errors
    /// [`LockError::AlreadyHeld`] if the calling thread holds this lock itself and would wait;
    /// other variants if the lock file can't be used.
    pub fn lock(&self, name: &str, wait: Wait) -> Result<Option<PathLock>> {
        let file_name = self.file_name(name)?;
        let path = || self.inner.path.join(format!("{name}{SUFFIX}"));
        let announce = || tracing::info!(path = %path().display(), "waiting for a path lock");
        let key = (self.inner.id.0, self.inner.id.1, file_name.into());
        let claim = match Claim::take(key, wait, announce) {
            Claiming::Got(claim) => claim,
            Claiming::Busy => return Ok(None),
            Claiming::OwnThread => return Err(LockError::AlreadyHeld { path: path() }),
        };
        loop {
            let file = self
                .open_file(&claim)
                .map_err(|source| LockError::io("open lock file", &path(), source))?;
            let taken = flock::lock(&file, LockMode::Exclusive, wait, announce)
                .map_err(|source| LockError::io("lock", &path(), source))?;
            if !taken {
                return Ok(None);
            }
            let stat = rustix::fs::fstat(&file)
                .map_err(|source| LockError::io("examine lock file", &path(), source))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(LockError::NotRegular { path: path() });
            }
            match state(&stat) {
                State::Good => {
                    return Ok(Some(PathLock {
                        file,
                        claim,
                        dir: self.clone(),
                        removal: false,
                    }));
                }
                State::Removed => {}
                State::Spoilt => self
                    .remove_spoilt(&claim, &stat)
                    .map_err(|source| LockError::io("remove lock file", &path(), source))?,
            }
        }
    }

    /// Locks all of `names`, in ascending order whatever order they come in; repeated names count
    /// once. `None` when one stayed busy for as long as `wait` permits; then none is held.
    ///
    /// # Errors
    /// As [`LockDir::lock`]; then none is held.
    pub fn lock_all<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        wait: Wait,
    ) -> Result<Option<PathLocks>> {
        let mut names: Vec<&str> = names.into_iter().collect();
        // Nix compat: the order is that of the paths, not of the lock files; they differ.
        names.sort_unstable();
        names.dedup();
        let mut locks = Vec::with_capacity(names.len());
        for name in names {
            match self.lock(name, wait)? {
                Some(lock) => locks.push(lock),
                None => return Ok(None),
            }
        }
        Ok(Some(PathLocks { locks }))
    }

    fn file_name(&self, name: &str) -> Result<CString> {
        let bad = || LockError::BadName {
            name: name.to_owned(),
            dir: self.inner.path.clone(),
        };
        if name.is_empty() || name.contains('/') {
            return Err(bad());
        }
        let mut file_name = Vec::with_capacity(name.len() + SUFFIX.len() + 1);
        file_name.extend_from_slice(name.as_bytes());
        file_name.extend_from_slice(SUFFIX.as_bytes());
        CString::new(file_name).map_err(|_| bad())
    }

    fn open_file(&self, claim: &Claim) -> io::Result<File> {
        // O_NONBLOCK has no meaning for regular files and keeps a planted device from hanging us.
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.inner.fd, claim.name(), flags, mode)?.into())
    }

    /// Removes a lock file that we have locked and that is linked but not empty, unless the name
    /// belongs to another file by now.
    fn remove_spoilt(&self, claim: &Claim, locked: &Stat) -> io::Result<()> {
        let fd = self.inner.fd.as_fd();
        let named = match rustix::fs::statat(fd, claim.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            named => named?,
        };
        if (named.st_dev, named.st_ino) != (locked.st_dev, locked.st_ino) {
            return Ok(());
        }
        match rustix::fs::unlinkat(fd, claim.name(), AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }
}

impl PathLock {
    /// Asks for the lock file to be removed at the release, because the outcome is final: the path
    /// is valid, or what was there has been cleaned up.
    pub fn request_removal(&mut self) {
        self.removal = true;
    }

    /// Releases the lock, as dropping does, and says whether the lock file could be removed.
    ///
    /// # Errors
    /// If removal was requested and failed; the lock is released all the same.
    pub fn release(mut self) -> Result<()> {
        self.remove_file()
    }

    fn remove_file(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.removal) {
            return Ok(());
        }
        let dir = &self.dir.inner;
        let path = || dir.path.join(self.claim.name().to_string_lossy().as_ref());
        match rustix::fs::unlinkat(&dir.fd, self.claim.name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // The file stays as it is: with a byte in it, it would make every Nix spin.
            Err(source) => return Err(LockError::io("remove lock file", &path(), source)),
        }
        // After the unlink, never before it. Nix compat: others only look at the size, so a hole
        // serves as well as the byte that real Nix writes; it takes no page and no disk space.
        self.file
            .set_len(1)
            .map_err(|source| LockError::io("mark lock file", &path(), source))
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        if let Err(error) = self.remove_file() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "lock file stays behind"
            );
        }
    }
}

impl PathLocks {
    /// How many locks are held.
    pub fn len(&self) -> usize {
        self.locks.len()
    }

    /// True when no lock is held.
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// Holds the locks of `others`, too.
    pub fn append(&mut self, mut others: Self) {
        self.locks.append(&mut others.locks);
    }

    /// As [`PathLock::request_removal`], for every lock.
    pub fn request_removal(&mut self) {
        self.locks.iter_mut().for_each(PathLock::request_removal);
    }

    /// Releases all locks.
    ///
    /// # Errors
    /// The first failed removal of a lock file; all locks are released all the same.
    pub fn release(self) -> Result<()> {
        let mut result = Ok(());
        for lock in self.locks {
            result = result.and(lock.release());
        }
        result
    }
}

impl IntoIterator for PathLocks {
    type Item = PathLock;
    type IntoIter = std::vec::IntoIter<PathLock>;

    /// The locks in the order in which they were taken, each to be kept or released on its own.
    fn into_iter(self) -> Self::IntoIter {
        self.locks.into_iter()
    }
}

enum State {
    Good,
    Removed,
    Spoilt,
}

fn state(stat: &Stat) -> State {
    match (stat.st_nlink, stat.st_size) {
        (0, _) => State::Removed,
        (_, 0) => State::Good,
        _ => State::Spoilt,
    }
}

const SUFFIX: &str = ".lock";

#[cfg(test)]
mod tests;
