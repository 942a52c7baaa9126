//! Directories of lock files, below `STATE/nix-serve`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// A directory whose files are locks.
#[derive(Debug)]
pub(crate) struct LockDirectory {
    fd: OwnedFd,
    path: PathBuf,
}

/// A lock file that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} '{path}'")]
pub(crate) struct LockError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: io::Error,
}

impl LockDirectory {
    /// Opens `STATE/nix-serve/<name>`, which is made if it isn't there.
    pub(crate) fn create(state_dir: &Path, name: &str) -> Result<Self, LockError> {
        let parent = state_dir.join("nix-serve");
        for dir in [&parent, &parent.join(name)] {
            make_dir(rustix::fs::CWD, dir).map_err(|e| error("create", dir, e))?;
        }
        Self::open_path(parent.join(name))
    }

    /// Opens the directory at `path`.
    pub(crate) fn open_path(path: PathBuf) -> Result<Self, LockError> {
        let fd = rustix::fs::open(&path, DIRECTORY, Mode::empty())
            .map_err(|e| error("open", &path, e))?;
        Ok(Self { fd, path })
    }

    /// The directory `name` in this one, which is made if it isn't there.
    pub(crate) fn create_dir(&self, name: &str) -> Result<Self, LockError> {
        let path = self.path.join(name);
        make_dir(self.fd.as_fd(), Path::new(name)).map_err(|e| error("create", &path, e))?;
        let fd = rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty())
            .map_err(|e| error("open", &path, e))?;
        Ok(Self { fd, path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file `name`, which is made if it isn't there.
    pub(crate) fn open(&self, name: &str) -> Result<File, LockError> {
        let flags = OFlags::RDWR | OFlags::CREATE | FILE;
        self.open_with(name, flags)
    }

    /// As [`open`](Self::open); whatever is written goes to its end.
    pub(crate) fn open_append(&self, name: &str) -> Result<File, LockError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | FILE;
        self.open_with(name, flags)
    }

    /// Makes the file `name`, which must not be there.
    pub(crate) fn create_new(&self, name: &str) -> Result<File, LockError> {
        self.open_with(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | FILE)
    }

    fn open_with(&self, name: &str, flags: OFlags) -> Result<File, LockError> {
        rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|e| error("open", &self.path.join(name), e))
    }

    /// Opens the file `name` if it is there.
    pub(crate) fn open_existing(&self, name: &str) -> Result<Option<File>, LockError> {
        match rustix::fs::openat(&self.fd, name, OFlags::RDWR | FILE, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(error("open", &self.path.join(name), e)),
        }
    }

    /// Takes the lock of `file`, called `name`, for this process alone; false if it is busy.
    pub(crate) fn try_lock(&self, file: &File, name: &str) -> Result<bool, LockError> {
        self.flock(file, name, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock of `file`, called `name`, together with others; false if it is busy.
    pub(crate) fn try_lock_shared(&self, file: &File, name: &str) -> Result<bool, LockError> {
        self.flock(file, name, FlockOperation::NonBlockingLockShared)
    }

    /// Gives the lock of `file`, called `name`, back.
    pub(crate) fn unlock(&self, file: &File, name: &str) -> Result<(), LockError> {
        self.flock(file, name, FlockOperation::Unlock).map(drop)
    }

    fn flock(&self, file: &File, name: &str, how: FlockOperation) -> Result<bool, LockError> {
        loop {
            match rustix::fs::flock(file, how) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(e) => return Err(error("lock", &self.path.join(name), e)),
            }
        }
    }

    /// Takes the lock of the file `gate`, which is only ever held for a few system calls;
    /// `None` once `given_up` says so.
    pub(crate) fn gate(&self, given_up: &dyn Fn() -> bool) -> Result<Option<File>, LockError> {
        let mut wait = Duration::from_micros(50);
        let file = self.open(GATE)?;
        while !self.try_lock(&file, GATE)? {
            if given_up() {
                return Ok(None);
            }
            // A lock that blocks couldn't be given up.
            std::thread::sleep(wait);
            wait = (wait * 2).min(Duration::from_millis(5));
        }
        Ok(Some(file))
    }

    /// Removes the file `name`, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), LockError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(error("remove", &self.path.join(name), e)),
        }
    }

    /// Removes the directory `name`, if it is there; it must be empty.
    pub(crate) fn remove_dir(&self, name: &str) -> Result<(), LockError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(error("remove", &self.path.join(name), e)),
        }
    }

    /// Calls `each` with all names that are text.
    pub(crate) fn names(&self, mut each: impl FnMut(&str)) -> Result<(), LockError> {
        let failed = |e| error("list", &self.path, e);
        let entries = rustix::fs::Dir::read_from(&self.fd).map_err(failed)?;
        for entry in entries {
            if let Ok(name) = entry.map_err(failed)?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                each(name);
            }
        }
        Ok(())
    }
}

fn make_dir(parent: impl AsFd, path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdirat(parent, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
    }
}

fn error(action: &'static str, path: &Path, source: Errno) -> LockError {
    LockError {
        action,
        path: path.to_owned(),
        source: source.into(),
    }
}

const GATE: &str = "gate";
const FILE: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
