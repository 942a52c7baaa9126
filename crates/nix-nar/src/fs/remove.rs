//! Removes a tree from a disk.
//!
//! The tree may be anything that an older tool, a crash or a hostile user left
//! behind: of any depth, with modes that forbid to look inside, with links to
//! everywhere. Directories are opened relative to the descriptor of the one
//! above, never through a link, and only if they are on the same mount.
//!
//! The number of descriptors is bounded: a directory below `OPEN_MAX` levels
//! is moved up, into the root of the tree, under a name of its own, and is
//! removed from there. So no path ever has more than one component, and `..`
//! is never used, which would lead elsewhere if somebody moved a directory.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, SeekFrom, Statx, StatxFlags,
    chmodat, fchmod, openat, renameat_with, seek, statx, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Problem, Result};

#[cfg(test)]
mod tests;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoveStats {
    /// Number of files, links and other objects that are no directories.
    pub files: u64,
    /// Number of directories.
    pub directories: u64,
    /// Bytes on disk of the files and links whose last name was removed; only
    /// [`remove_tree_measured`] looks.
    pub freed_bytes: u64,
    /// How long these were, in bytes.
    pub freed_lengths: u64,
}

/// Removes the entry `name` of `parent`, with all that is below it.
///
/// On failure what was not removed yet stays; calling again goes on.
///
/// # Errors
/// [`Error::File`] for failing system calls ([`Error::is_not_found`] when
/// there is no such entry); [`Error::MountPoint`] when another mount begins
/// inside of the tree.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<RemoveStats> {
    remove(parent, name, false)
}

/// [`remove_tree`], which also finds out how many bytes that frees.
///
/// # Errors
/// As for [`remove_tree`].
pub fn remove_tree_measured(parent: BorrowedFd<'_>, name: &OsStr) -> Result<RemoveStats> {
    remove(parent, name, true)
}

fn remove(parent: BorrowedFd<'_>, name: &OsStr, measured: bool) -> Result<RemoveStats> {
    let bad = name.as_bytes().contains(&b'/') || matches!(name.as_bytes(), b"" | b"." | b"..");
    let c_name = match CString::new(name.as_bytes()) {
        Ok(c_name) if !bad => c_name,
        _ => {
            let path = name.as_bytes().into();
            return Err(Error::Unwritable {
                path,
                problem: Problem::InvalidName(name.as_bytes().into()),
            });
        }
    };
    let mut remover = Remover {
        levels: Vec::new(),
        mount: Mount::of(parent, c"").map_err(|e| file_error("stat", name.into(), e))?,
        moved: 0,
        dirents: Vec::with_capacity(DIRENTS),
        stats: RemoveStats::default(),
        measured,
    };
    remover
        .run(parent, &c_name)
        .map_err(|failure| failure.explain(name, &remover.levels))?;
    Ok(remover.stats)
}

struct Remover {
    /// The open directories, outermost first.
    levels: Vec<Level>,
    mount: Mount,
    /// How many directories were moved up.
    moved: u64,
    dirents: Vec<u8>,
    stats: RemoveStats,
    /// Whether to find out how many bytes are freed.
    measured: bool,
}

/// An open directory of the tree.
struct Level {
    dir: OwnedFd,
    name: CString,
    /// Directories in it that are still to be removed.
    pending: Vec<CString>,
    /// Whether it may hold more than was listed.
    unfinished: bool,
    /// How often it was found not to be empty after all.
    retries: u32,
}

/// A failure below the levels that are open.
struct Failure {
    operation: &'static str,
    name: CString,
    source: Option<Errno>,
}

/// What a file system object is mounted on.
#[derive(PartialEq, Eq)]
struct Mount {
    /// The id of the mount, where the kernel tells it (Linux 5.8).
    id: Option<u64>,
    /// The file system, where it does not.
    device: Option<(u32, u32)>,
}

impl Remover {
    fn run(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Failure> {
        let bytes = bytes_of(self.measured, parent, name);
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) => {
                self.stats.files += 1;
                self.stats.count(bytes);
                return Ok(());
            }
            Err(Errno::ISDIR) => {}
            Err(e) => return Err(Failure::new("remove", name, e)),
        }
        let root = self.open(parent, name)?;
        self.levels.push(root);
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.pending.pop() {
                self.descend(name)?;
            } else if level.unfinished {
                level.unfinished = false;
                self.empty()?;
            } else {
                self.ascend(parent)?;
            }
        }
        Ok(())
    }

    /// Removes what is no directory from the innermost level, and notes its directories.
    fn empty(&mut self) -> Result<(), Failure> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(());
        };
        let failed = |operation, e| Failure::new(operation, c"", e);
        seek(&level.dir, SeekFrom::Start(0)).map_err(|e| failed("read directory", e))?;
        let mut raw = RawDir::new(&level.dir, self.dirents.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry.map_err(|e| failed("read directory", e))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                let bytes = bytes_of(self.measured, level.dir.as_fd(), name);
                match unlinkat(&level.dir, name, AtFlags::empty()) {
                    Ok(()) => {
                        self.stats.files += 1;
                        self.stats.count(bytes);
                        continue;
                    }
                    Err(Errno::NOENT) => continue,
                    Err(Errno::ISDIR) => {}
                    Err(e) => return Err(Failure::new("remove", name, e)),
                }
            }
            if level.pending.len() == PENDING {
                level.unfinished = true;
                break;
            }
            level.pending.push(name.to_owned());
        }
        Ok(())
    }

    /// Goes into a directory of the innermost level, or moves it up where that is too deep.
    fn descend(&mut self, name: CString) -> Result<(), Failure> {
        let depth = self.levels.len();
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        let opened = match self.open(level.dir.as_fd(), &name) {
            Ok(opened) => opened,
            // Gone, or replaced by something else meanwhile.
            Err(Failure {
                source: Some(Errno::NOENT),
                ..
            }) => return Ok(()),
            Err(Failure {
                source: Some(Errno::NOTDIR | Errno::LOOP),
                ..
            }) => {
                if let Some(level) = self.levels.last_mut() {
                    level.retry(&name)?;
                }
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        if depth < OPEN_MAX {
            self.levels.push(opened);
            return Ok(());
        }
        self.move_up(&name)
    }

    /// Moves a directory of the innermost level into the root of the tree.
    fn move_up(&mut self, name: &CStr) -> Result<(), Failure> {
        let (Some(root), Some(level)) = (self.levels.first(), self.levels.last()) else {
            return Ok(());
        };
        loop {
            let text = format!(".removed-{}", self.moved);
            self.moved += 1;
            let new = CString::new(text).unwrap_or_default();
            match renameat_with(&level.dir, name, &root.dir, &new, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    let root = &mut self.levels[0];
                    if root.pending.len() < PENDING {
                        root.pending.push(new);
                    } else {
                        root.unfinished = true;
                    }
                    return Ok(());
                }
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(()),
                Err(e) => return Err(Failure::new("move", name, e)),
            }
        }
    }

    /// Removes the innermost level, which should be empty by now.
    fn ascend(&mut self, parent: BorrowedFd<'_>) -> Result<(), Failure> {
        let Some(level) = self.levels.pop() else {
            return Ok(());
        };
        let above = self.levels.last().map_or(parent, |above| above.dir.as_fd());
        match unlinkat(above, &level.name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.stats.directories += 1;
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let mut level = level;
                let name = level.name.clone();
                level.retry(&name)?;
                self.levels.push(level);
                Ok(())
            }
            // Somebody put something else in its place: the level above looks again.
            Err(Errno::NOTDIR) if !self.levels.is_empty() => match self.levels.last_mut() {
                Some(above) => above.retry(&level.name),
                None => Ok(()),
            },
            Err(e) => Err(Failure::new("remove directory", &level.name, e)),
        }
    }

    /// Opens a directory so that its entries can be read and removed.
    fn open(&self, parent: BorrowedFd<'_>, name: &CStr) -> Result<Level, Failure> {
        let failed = |e| Failure::new("open directory", name, e);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match openat(parent, name, flags | OFlags::RDONLY, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ACCESS) => {
                let path =
                    openat(parent, name, flags | OFlags::PATH, Mode::empty()).map_err(failed)?;
                self.check_mount(&path, name)?;
                // A descriptor of this kind can't be chmod-ed itself; its
                // name under /proc stands for the very object.
                let link = format!("/proc/self/fd/{}", path.as_raw_fd());
                chmodat(CWD, link, Mode::RWXU, AtFlags::empty())
                    .map_err(|e| Failure::new("change mode of", name, e))?;
                openat(&path, c".", flags | OFlags::RDONLY, Mode::empty()).map_err(failed)?
            }
            Err(e) => return Err(failed(e)),
        };
        let stat = self.check_mount(&dir, name)?;
        let mode = Mode::from_raw_mode(stat.stx_mode.into());
        if !mode.contains(Mode::RWXU) {
            fchmod(&dir, Mode::RWXU).map_err(|e| Failure::new("change mode of", name, e))?;
        }
        Ok(Level {
            dir,
            name: name.to_owned(),
            pending: Vec::new(),
            unfinished: true,
            retries: 0,
        })
    }

    fn check_mount(&self, dir: &OwnedFd, name: &CStr) -> Result<Statx, Failure> {
        let stat = stat(dir.as_fd(), c"").map_err(|e| Failure::new("stat", name, e))?;
        if Mount::from(&stat) == self.mount {
            Ok(stat)
        } else {
            Err(Failure {
                operation: "",
                name: name.to_owned(),
                source: None,
            })
        }
    }
}

impl Level {
    /// Has the level listed anew, but not for ever.
    fn retry(&mut self, name: &CStr) -> Result<(), Failure> {
        self.retries += 1;
        if self.retries > RETRIES {
            return Err(Failure::new("remove directory", name, Errno::NOTEMPTY));
        }
        self.unfinished = true;
        self.pending.clear();
        Ok(())
    }
}

impl Failure {
    fn new(operation: &'static str, name: &CStr, source: Errno) -> Self {
        Self {
            operation,
            name: name.to_owned(),
            source: Some(source),
        }
    }

    fn explain(self, root: &OsStr, levels: &[Level]) -> Error {
        let mut path = PathBuf::from(root);
        let inner = levels.iter().skip(1).map(|level| level.name.as_c_str());
        // The root itself has no directory open above it.
        let last = Some(self.name.as_c_str()).filter(|_| !levels.is_empty());
        for name in inner.chain(last).filter(|name| !name.is_empty()) {
            path.push(OsStr::from_bytes(name.to_bytes()));
        }
        match self.source {
            Some(e) => file_error(self.operation, path, e),
            None => Error::MountPoint { path },
        }
    }
}

impl Mount {
    fn of(dir: BorrowedFd<'_>, name: &CStr) -> Result<Self, Errno> {
        Ok(Self::from(&stat(dir, name)?))
    }

    fn from(stat: &Statx) -> Self {
        let told = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
        Self {
            id: told.then_some(stat.stx_mnt_id),
            device: (!told).then_some((stat.stx_dev_major, stat.stx_dev_minor)),
        }
    }
}

fn stat(dir: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    statx(
        dir,
        name,
        flags,
        StatxFlags::MODE | StatxFlags::TYPE | StatxFlags::MNT_ID,
    )
}

impl RemoveStats {
    fn count(&mut self, (on_disk, length): (u64, u64)) {
        self.freed_bytes = self.freed_bytes.saturating_add(on_disk);
        self.freed_lengths = self.freed_lengths.saturating_add(length);
    }
}

/// The bytes on disk and the length that go with the name of a file, if it has no other.
fn bytes_of(measured: bool, dir: BorrowedFd<'_>, name: &CStr) -> (u64, u64) {
    if !measured {
        return (0, 0);
    }
    let wanted = StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::BLOCKS | StatxFlags::SIZE;
    match statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
        Ok(stat)
            if stat.stx_nlink == 1
                && FileType::from_raw_mode(stat.stx_mode.into()) != FileType::Directory =>
        {
            (stat.stx_blocks.saturating_mul(BLOCK), stat.stx_size)
        }
        _ => (0, 0),
    }
}

fn file_error(operation: &'static str, path: PathBuf, e: Errno) -> Error {
    Error::File {
        operation,
        path,
        source: e.into(),
    }
}

/// The most directories of a tree that are open at once.
const OPEN_MAX: usize = 48;

/// The most directories of a level that are noted before they are removed.
const PENDING: usize = if cfg!(test) { 16 } else { 1024 };

/// How often a directory may be found not to be empty.
const RETRIES: u32 = 1000;

/// The unit in which the kernel counts the space of a file.
const BLOCK: u64 = 512;

/// Room for directory entries from one system call.
const DIRENTS: usize = 32 * 1024;
