//! Directories on the way, and what has to be put right when they are done.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, OFlags, RawDir, Timespec, Timestamps, fstat, openat};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// An open directory of a tree.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    /// The directory that it is in, unless it is the root of its tree.
    parent: Option<Arc<Self>>,
    /// Its name there, or its path.
    name: PathBuf,
    /// How many directories it is in.
    pub(super) depth: usize,
}

impl Dir {
    /// Opens the root of a tree.
    pub(super) fn open_root(
        store: BorrowedFd<'_>,
        name: &CStr,
        path: PathBuf,
    ) -> rustix::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            fd: open(store, name, OFlags::DIRECTORY)?,
            parent: None,
            name: path,
            depth: 0,
        }))
    }

    /// Opens the directory `name` in this one.
    pub(super) fn open_child(self: &Arc<Self>, name: &CStr) -> rustix::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            fd: open(self.fd.as_fd(), name, OFlags::DIRECTORY)?,
            parent: Some(Arc::clone(self)),
            name: OsStr::from_bytes(name.to_bytes()).into(),
            depth: self.depth.saturating_add(1),
        }))
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> PathBuf {
        let mut names = vec![self.name.as_path()];
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(parent.name.as_path());
            at = parent;
        }
        names.into_iter().rev().collect()
    }

    /// Tells the names in it, with their types and inodes.
    pub(super) fn list(
        &self,
        dirents: &mut Vec<u8>,
        mut each: impl FnMut(&CStr, FileType, u64),
    ) -> rustix::io::Result<()> {
        let mut raw = RawDir::new(&self.fd, dirents.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                each(entry.file_name(), entry.file_type(), entry.ino());
            }
        }
        Ok(())
    }
}

/// A directory whose files may be replaced. When it is dropped, its modification time and
/// mode are again as they have to be.
#[derive(Debug)]
pub(super) struct Touched {
    dir: Arc<Dir>,
    /// The mode that it has to have.
    mode: Mode,
    fixes_mode: AtomicBool,
    fixes_time: AtomicBool,
}

impl Touched {
    /// For a directory in a tree that isn't in the store yet: it stays as it is.
    pub(super) fn staged(dir: Arc<Dir>) -> Result<Self> {
        let stat = fstat(&dir.fd).map_err(|e| Error::io("examine", &dir.path(), e))?;
        Ok(Self {
            dir,
            mode: Mode::from_raw_mode(stat.st_mode),
            fixes_mode: AtomicBool::new(false),
            fixes_time: AtomicBool::new(false),
        })
    }

    /// For a directory of a valid path: if it may be changed, it becomes as it should be,
    /// where a killed process left it otherwise.
    pub(super) fn valid(dir: Arc<Dir>, may_change: bool) -> Result<Self> {
        if !may_change {
            return Self::staged(dir);
        }
        let stat = fstat(&dir.fd).map_err(|e| Error::io("examine", &dir.path(), e))?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        let is_writable = mode.contains(Mode::WUSR);
        Ok(Self {
            dir,
            mode: match is_writable {
                true => Mode::from_raw_mode(0o555),
                false => mode,
            },
            fixes_mode: AtomicBool::new(is_writable),
            fixes_time: AtomicBool::new(stat.st_mtime != CANONICAL.tv_sec),
        })
    }

    pub(super) fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }

    /// Lets the owner replace entries.
    pub(super) fn make_writable(&self) -> Result<()> {
        self.fixes_mode.store(true, Ordering::Relaxed);
        rustix::fs::fchmod(&self.dir.fd, self.mode | Mode::RWXU)
            .map_err(|error| Error::io("make writable", &self.dir.path(), error))
    }

    /// Notes that an entry was replaced.
    pub(super) fn touch(&self) {
        self.fixes_time.store(true, Ordering::Relaxed);
    }

    fn put_right(&self) -> rustix::io::Result<()> {
        if self.fixes_mode.load(Ordering::Relaxed) {
            rustix::fs::fchmod(&self.dir.fd, self.mode)?;
        }
        if self.fixes_time.load(Ordering::Relaxed) {
            rustix::fs::futimens(&self.dir.fd, &CANONICAL_TIMES)?;
        }
        Ok(())
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        if let Err(error) = self.put_right() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "mode or time of '{}' stays changed",
                self.dir.path().display()
            );
        }
    }
}

/// Opens a file. Should it have become a fifo, nobody waits.
pub(super) fn open_file(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    open(dir, name, OFlags::NONBLOCK | OFlags::NOCTTY)
}

fn open(dir: BorrowedFd<'_>, name: &CStr, more: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    // A look for duplicates isn't a use of the object.
    match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}

/// Whether everything else would fail as well.
pub(super) fn is_exhausted(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

const CANONICAL: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
const CANONICAL_TIMES: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    },
    last_modification: CANONICAL,
};
