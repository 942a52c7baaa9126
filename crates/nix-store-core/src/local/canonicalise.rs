//! Making trees that a builder left fit for a store.
//!
//! The builder is gone, but it may have left anything: files that it doesn't own, links to
//! files elsewhere, programs that would run as their owner. All trees of a build are looked
//! at before any is changed:
//!
//! ```text
//! inspect   types; owners; how many names each inode has in the trees
//! apply     inode with more names than that      replaced by a private copy
//!           extended attributes, ACLs            removed, but for those of the machine
//!           owner                                the server
//!           mode                                 0444, 0555 if its owner may run it; directories 0555
//!           modification time                    1 s after 1970 began
//! ```
//!
//! Nothing is followed, and no object is changed but through a descriptor of itself or of its
//! directory. Copies are made in a directory that only the server can enter, and renamed.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix_nar::MAX_DEPTH;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::private_dir::PrivateDir;

mod metadata;
mod walk;

use walk::{Tree, Visit};

pub(super) use metadata::IGNORED_ATTRIBUTES;

/// Why a tree can't be made canonical.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicaliseError {
    /// Neither a file, nor a directory, nor a symbolic link.
    // Nix compat: clients know this text and the next one.
    #[error("file '{}' has an unsupported type", .0.display())]
    UnsupportedType(PathBuf),
    /// Somebody else than the builder owns it.
    #[error("invalid ownership on file '{}'", .0.display())]
    InvalidOwnership(PathBuf),
    /// More directories in each other than an archive can have.
    #[error("directory '{}' is nested too deeply: at most {MAX_DEPTH} levels can be archived", .0.display())]
    TooDeep(PathBuf),
    /// A failing system call.
    #[error("cannot {action} '{}'", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

type Result<T, E = CanonicaliseError> = std::result::Result<T, E>;

/// Makes the trees of one build canonical. They may share files by hard links.
#[derive(Debug)]
pub struct Canonicaliser<'p> {
    /// Who may own what is found.
    uids: Range<u32>,
    private: &'p PrivateDir,
    /// Inodes with several names, by device and number.
    shared: HashMap<(u64, u64), Names>,
    /// Copies made so far.
    copies: u64,
}

/// The names of an inode.
#[derive(Debug)]
struct Names {
    in_trees: u64,
    /// How many there were in all, before any was replaced.
    in_all: u64,
    /// Whether its metadata is canonical already.
    done: bool,
}

impl<'p> Canonicaliser<'p> {
    /// For trees whose owners are among `uids`; copies are made in `private`, on the same
    /// file system.
    #[must_use]
    pub fn new(uids: Range<u32>, private: &'p PrivateDir) -> Self {
        Self {
            uids,
            private,
            shared: HashMap::new(),
            copies: 0,
        }
    }

    /// Looks at the tree `name` in `dir`, whose path is `dir_path`. Call it for all trees
    /// before [`Self::apply`].
    ///
    /// # Errors
    /// An object of another type, or of another owner; a tree that is too deep.
    pub fn inspect(&mut self, dir: BorrowedFd<'_>, dir_path: &Path, name: &OsStr) -> Result<()> {
        Tree::new(dir, dir_path, name)?.walk(&mut Inspect(self))
    }

    /// Makes the tree canonical.
    ///
    /// # Errors
    /// Failing system calls.
    pub fn apply(&mut self, dir: BorrowedFd<'_>, dir_path: &Path, name: &OsStr) -> Result<()> {
        Tree::new(dir, dir_path, name)?.walk(&mut Apply(self))
    }

    /// What has to be done with a name of an inode.
    fn share_of(&mut self, stat: &Stat) -> Share {
        if stat.st_nlink <= 1 {
            return Share::Own;
        }
        match self.shared.get_mut(&id(stat)) {
            Some(names) if names.in_trees >= names.in_all => {
                match std::mem::replace(&mut names.done, true) {
                    true => Share::Done,
                    false => Share::Own,
                }
            }
            _ => Share::Foreign,
        }
    }

    /// A name in the private directory that isn't in use.
    fn next_copy(&mut self) -> CString {
        self.copies += 1;
        CString::new(format!("link-copy-{}", self.copies)).unwrap_or_default()
    }
}

/// To whom an inode belongs.
enum Share {
    /// To the trees alone.
    Own,
    /// To the trees alone, and it was seen under another name.
    Done,
    /// It has names elsewhere, too.
    Foreign,
}

struct Inspect<'c, 'p>(&'c mut Canonicaliser<'p>);

impl Visit for Inspect<'_, '_> {
    fn check(&mut self, stat: &Stat, path: &dyn Fn() -> PathBuf) -> Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !matches!(
            kind,
            FileType::RegularFile | FileType::Directory | FileType::Symlink
        ) {
            return Err(CanonicaliseError::UnsupportedType(path()));
        }
        if !self.0.uids.contains(&stat.st_uid) {
            return Err(CanonicaliseError::InvalidOwnership(path()));
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let new = Names {
                in_trees: 0,
                in_all: stat.st_nlink,
                done: false,
            };
            self.0.shared.entry(id(stat)).or_insert(new).in_trees += 1;
        }
        Ok(())
    }
}

struct Apply<'c, 'p>(&'c mut Canonicaliser<'p>);

impl Visit for Apply<'_, '_> {
    fn check(&mut self, stat: &Stat, path: &dyn Fn() -> PathBuf) -> Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory | FileType::Symlink => Ok(()),
            _ => Err(CanonicaliseError::UnsupportedType(path())),
        }
    }

    fn leaf(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &dyn Fn() -> PathBuf,
    ) -> Result<()> {
        let failed = |action, source: Errno| failed(action, path, source);
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let share = self.0.share_of(stat);
        match share {
            Share::Done => return Ok(()),
            Share::Foreign if is_link => self.copy_link(dir, name, path)?,
            Share::Foreign => self.copy_file(dir, name, path)?,
            Share::Own => {}
        }
        if is_link {
            return metadata::fix_link(dir, name).map_err(|(action, e)| failed(action, e));
        }
        let file = open_file(dir, name).map_err(|e| failed("open", e))?;
        metadata::fix_file(&file).map_err(|(action, e)| failed(action, e))
    }

    fn leave(&mut self, dir: &OwnedFd, path: &dyn Fn() -> PathBuf) -> Result<()> {
        metadata::fix_directory(dir).map_err(|(action, e)| failed(action, path, e))
    }
}

impl Apply<'_, '_> {
    fn copy_file(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &dyn Fn() -> PathBuf,
    ) -> Result<()> {
        let source = open_file(dir, name).map_err(|e| failed("open", path, e))?;
        let stat = rustix::fs::fstat(&source).map_err(|e| failed("examine", path, e))?;
        let private = self.0.private.fd();
        let copy = self.0.next_copy();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let executable = Mode::from_raw_mode(stat.st_mode) & Mode::XUSR;
        let target = rustix::fs::openat(private, &copy, flags, Mode::RUSR | executable)
            .map_err(|e| failed("make a copy of", path, e))?;
        io::copy(
            &mut std::fs::File::from(source),
            &mut std::fs::File::from(target),
        )
        .map_err(|source| CanonicaliseError::Io {
            action: "copy",
            path: path(),
            source,
        })?;
        rustix::fs::renameat(private, &copy, dir, name).map_err(|e| failed("replace", path, e))
    }

    fn copy_link(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &dyn Fn() -> PathBuf,
    ) -> Result<()> {
        let target = rustix::fs::readlinkat(dir, name, Vec::new())
            .map_err(|e| failed("read link", path, e))?;
        let private = self.0.private.fd();
        let copy = self.0.next_copy();
        rustix::fs::symlinkat(&target, private, &copy)
            .and_then(|()| rustix::fs::renameat(private, &copy, dir, name))
            .map_err(|e| failed("replace", path, e))
    }
}

/// Opens a file that may not be readable for its owner. The caller knows that it is one.
fn open_file(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    // Should it not be one after all, nothing happens and nobody waits.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            add_mode(dir, name, Mode::RUSR)?;
            rustix::fs::openat(dir, name, flags, Mode::empty())
        }
        opened => opened,
    }
}

/// Gives the owner of an object, which is no link, more rights to it.
fn add_mode(dir: BorrowedFd<'_>, name: &CStr, more: Mode) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let object = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&object)?.st_mode) | more;
    // A descriptor of this kind can't be changed itself; its name under /proc stands for
    // the very object.
    let link = format!("/proc/self/fd/{}", object.as_raw_fd());
    rustix::fs::chmodat(CWD, link, mode & Mode::RWXU, AtFlags::empty())
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn failed(action: &'static str, path: &dyn Fn() -> PathBuf, source: Errno) -> CanonicaliseError {
    CanonicaliseError::Io {
        action,
        path: path(),
        source: source.into(),
    }
}

fn child_path(base: &Path, names: &[CString], last: &CStr) -> PathBuf {
    let mut path = base.to_owned();
    for name in names {
        path.push(OsStr::from_bytes(name.to_bytes()));
    }
    path.push(OsStr::from_bytes(last.to_bytes()));
    path
}

#[cfg(test)]
mod tests;
