//! The file with the temporary roots of one store instance.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::super::error::{LockError, Result};
use super::super::flock::{self, LockMode, Wait};

/// `STATE/temproots/<pid>-<random>`, locked shared for as long as this lives and unlinked after.
///
/// Collectors take the digits in front for the pid and ignore the rest. With the pid alone, two
/// pid namespaces that share a store would take each other's file for stale.
#[derive(Debug)]
pub(super) struct RootsFile {
    dir: OwnedFd,
    name: String,
    path: PathBuf,
    file: File,
    /// End of the last whole record.
    end: u64,
    /// A failed write may have left something behind `end`.
    torn: bool,
    /// A forked child has a copy of this value, but the file isn't the child's to remove.
    pid: u32,
}

impl RootsFile {
    /// Creates a file with no records.
    pub(super) fn create(state_dir: &Path) -> Result<Self> {
        let dir_path = state_dir.join("temproots");
        let dir = open_dir(&dir_path)?;
        loop {
            let dir = dir
                .try_clone()
                .map_err(|source| LockError::io("open", &dir_path, source))?;
            let roots = Self::create_unlocked(dir, &dir_path)?;
            if roots.lock()? {
                return Ok(roots);
            }
        }
    }

    fn create_unlocked(dir: OwnedFd, dir_path: &Path) -> Result<Self> {
        let pid = std::process::id();
        loop {
            let random =
                random().map_err(|source| LockError::io("name a file in", dir_path, source))?;
            let name = format!("{pid}-{random:016x}");
            let path = dir_path.join(&name);
            let flags =
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = match rustix::fs::openat(&dir, &name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) => continue,
                file => file.map_err(|source| LockError::io("create", &path, source))?,
            };
            return Ok(Self {
                dir,
                name,
                path,
                file: file.into(),
                end: 0,
                torn: false,
                pid,
            });
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one record for each of `paths`. Every write ends with a whole record: collectors
    /// ignore an unterminated one, but it would be glued to the next.
    pub(super) fn append(&mut self, paths: &[&str]) -> Result<()> {
        let mut records = Vec::new();
        for path in paths {
            records.extend_from_slice(path.as_bytes());
            records.push(0);
            if records.len() >= BATCH {
                self.write(&records)?;
                records.clear();
            }
        }
        self.write(&records)
    }

    fn write(&mut self, records: &[u8]) -> Result<()> {
        let fail = |path: &Path, source| LockError::io("record a temporary root in", path, source);
        if self.torn {
            self.file
                .set_len(self.end)
                .map_err(|source| fail(&self.path, source))?;
        }
        self.torn = true;
        self.file
            .write_all_at(records, self.end)
            .map_err(|source| fail(&self.path, source))?;
        self.torn = false;
        self.end += records.len() as u64;
        Ok(())
    }

    /// Takes the owner's lock. False if a collector came first, took the file for a dead process's
    /// and removed it.
    fn lock(&self) -> Result<bool> {
        // The wait is short: a collector that has the lock is about to mark the file and go on.
        flock::lock(&self.file, LockMode::Shared, Wait::Forever, || {})
            .map_err(|source| LockError::io("lock", &self.path, source))?;
        let stat = rustix::fs::fstat(&self.file)
            .map_err(|source| LockError::io("examine", &self.path, source))?;
        Ok(stat.st_nlink > 0 && stat.st_size == 0)
    }
}

impl Drop for RootsFile {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            return;
        }
        match rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "temporary roots stay behind");
            }
        }
    }
}

fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|error| match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other("no source of random numbers"),
    })
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {
            let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
            match rustix::fs::mkdir(path, mode) {
                Ok(()) | Err(Errno::EXIST) => open(),
                Err(error) => Err(error),
            }
        }
        opened => opened,
    }
    .map_err(|source| LockError::io("open temporary roots directory", path, source))
}

/// How much is written at once, in bytes; the record that reaches it is the last of its batch.
const BATCH: usize = 1 << 20;

#[cfg(test)]
mod tests;
