//! Creates the tree of an archive on disk.
//!
//! Every object is created new, relative to the descriptor of its directory:
//! an object that exists, of whatever type, is an error, and nothing is ever
//! followed or overwritten. The calls for a file are openat, write and close;
//! [`Metadata::Canonical`] adds one for the time stamp.

use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bstr::BStr;
use rustix::fs::{
    Advice, AtFlags, Mode, OFlags, Timespec, Timestamps, fadvise, fchmod, flistxattr_query,
    fremovexattr, fstat, futimens, mkdirat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::fs::pipe::FdIn;
use crate::fs::watch::WatchFiles;
use crate::names::check_name;
use crate::read::{Event, NarReader, Node};

#[cfg(test)]
mod tests;

/// How a tree is created.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Modes and time stamps.
    pub metadata: Metadata,
    /// Whether files start on their way to the disk at once.
    pub flush: Flush,
    /// With [`Metadata::Canonical`], leaves a directory that is the root of
    /// the tree with mode 0755, so that an owner without privilege can move
    /// it. The caller sets 0555 then.
    pub root_writable: bool,
}

/// Modes and time stamps of what is created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Metadata {
    /// As the process's umask and the clock have it.
    #[default]
    Umask,
    /// As in a store: files 0444 or 0555, directories 0555 once they are
    /// complete, everything modified one second after 1970 began.
    Canonical,
}

/// Whether files start on their way to the disk while the archive is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flush {
    /// Leaves that to the kernel and the caller.
    #[default]
    None,
    /// Has the kernel begin to write large files back, so that a later flush
    /// finds little to do. Promises nothing by itself.
    StartWriteback,
}

/// What was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreStats {
    /// Size of the archive in bytes.
    pub nar_size: u64,
    /// Size of all contents in bytes.
    pub contents: u64,
    /// Number of regular files.
    pub files: u64,
    /// Number of directories, the root included.
    pub directories: u64,
    /// Number of symbolic links.
    pub symlinks: u64,
}

/// Reads one archive and creates its tree as the entry `name` of `parent`.
///
/// On failure what was created so far stays, for the caller to remove.
///
/// # Errors
/// [`Error::File`] for failing system calls, among them an object that exists
/// ([`Error::is_already_exists`]); those of [`NarReader::next`].
pub fn restore(
    reader: &mut impl BufRead,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    options: &RestoreOptions,
) -> Result<RestoreStats> {
    restore_nar(&mut NarReader::new(reader), parent, name, options)
}

/// Like [`restore`], from a parser at the start of its archive: with a limit
/// on the size, or forwarding to a hash.
///
/// # Errors
/// As for [`restore`].
pub fn restore_nar<R: BufRead, W: Write>(
    nar: &mut NarReader<R, W>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    options: &RestoreOptions,
) -> Result<RestoreStats> {
    Restorer::new(nar, name, options, |_, _, _| Ok(None)).run(parent)
}

/// Like [`restore_nar`], with somebody who watches.
///
/// # Errors
/// As for [`restore`].
pub fn restore_watched<R: BufRead, W: Write>(
    nar: &mut NarReader<R, W>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    options: &RestoreOptions,
    watch: &mut dyn WatchFiles,
) -> Result<RestoreStats> {
    let mut restorer = Restorer::new(nar, name, options, |_, _, _| Ok(None));
    restorer.watch = Some(watch);
    restorer.run(parent)
}

/// Like [`restore`], from a descriptor whose input is the archive and nothing
/// else: bytes behind it may be taken in as well. Contents of large files
/// don't pass through this process where the kernel can do without.
///
/// # Errors
/// As for [`restore`].
pub fn restore_from_fd(
    input: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    options: &RestoreOptions,
) -> Result<RestoreStats> {
    let mut nar = NarReader::new(FdIn::new(input));
    Restorer::new(&mut nar, name, options, FdIn::transfer).run(parent)
}

/// Moves contents from the input into a file, around the parser.
type Transfer<R> = fn(&mut R, BorrowedFd<'_>, u64) -> std::io::Result<Option<u64>>;

struct Restorer<'a, R, W> {
    nar: &'a mut NarReader<R, W>,
    name: &'a OsStr,
    options: &'a RestoreOptions,
    transfer: Transfer<R>,
    levels: Vec<OwnedFd>,
    /// Whether the umask leaves the modes of files alone: plain, executable.
    mode_kept: [Option<bool>; 2],
    watch: Option<&'a mut dyn WatchFiles>,
    /// The name of the file at hand, for the one who watches.
    file_name: Vec<u8>,
    stats: RestoreStats,
}

impl<'a, R: BufRead, W: Write> Restorer<'a, R, W> {
    fn new(
        nar: &'a mut NarReader<R, W>,
        name: &'a OsStr,
        options: &'a RestoreOptions,
        transfer: Transfer<R>,
    ) -> Self {
        Self {
            nar,
            name,
            options,
            transfer,
            levels: Vec::new(),
            mode_kept: [None; 2],
            watch: None,
            file_name: Vec::new(),
            stats: RestoreStats::default(),
        }
    }

    fn run(mut self, parent: BorrowedFd<'_>) -> Result<RestoreStats> {
        if let Err(problem) = check_name(self.name.as_bytes()) {
            return Err(Error::Unwritable {
                path: self.name.as_bytes().into(),
                problem,
            });
        }
        while let Some(event) = self.nar.next()? {
            let Event::Node { name, node } = event else {
                self.end_directory()?;
                continue;
            };
            let (dir, name) = match self.levels.last() {
                Some(dir) => (dir.as_fd(), &**name),
                None => (parent, self.name.as_bytes()),
            };
            let canonical = self.options.metadata == Metadata::Canonical;
            match node {
                Node::Directory => {
                    let made = create_directory(dir, name, canonical);
                    let dir = made.map_err(|(operation, e)| self.failed(operation, e))?;
                    self.drop_inherited_acl(&dir)?;
                    self.levels.push(dir);
                    self.stats.directories += 1;
                }
                Node::Symlink { target } => {
                    let made = create_symlink(dir, name, target, canonical);
                    match (made, &mut self.watch) {
                        (Err((operation, e)), _) => return Err(self.failed(operation, e)),
                        (Ok(()), Some(watch)) if !self.levels.is_empty() => {
                            watch.symlink(dir, name, target);
                        }
                        _ => {}
                    }
                    self.stats.symlinks += 1;
                }
                Node::Regular { executable, size } => {
                    let made = create_file(dir, name, executable, canonical);
                    self.file_name.clear();
                    self.file_name.extend_from_slice(name);
                    if let Some(watch) = self.watch() {
                        watch.begin_file(executable, size);
                    }
                    let file = made.map_err(|e| self.failed("create file", e))?;
                    self.drop_inherited_acl(&file)?;
                    self.fill(&file, size)?;
                    self.finish_file(&file, executable)?;
                    self.tell_of_file();
                    self.stats.files += 1;
                    self.stats.contents += size;
                }
            }
        }
        self.stats.nar_size = self.nar.offset();
        Ok(self.stats)
    }

    /// Removes access lists that the root of the tree took over from its
    /// parent. What is created in it then has none to inherit.
    fn drop_inherited_acl(&self, file: &OwnedFd) -> Result<()> {
        if self.options.metadata != Metadata::Canonical || !self.is_root() {
            return Ok(());
        }
        // Nothing to list on nearly every system: one call then.
        if matches!(flistxattr_query(file), Ok(0) | Err(_)) {
            return Ok(());
        }
        for name in [c"system.posix_acl_access", c"system.posix_acl_default"] {
            match fremovexattr(file, name) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(e) => return Err(self.failed("remove access list of", e)),
            }
        }
        Ok(())
    }

    /// Who watches, if the object at hand is in a directory.
    fn watch(&mut self) -> Option<&mut &'a mut dyn WatchFiles> {
        self.watch.as_mut().filter(|_| !self.levels.is_empty())
    }

    fn tell_of_file(&mut self) {
        if let (Some(watch), Some(dir)) = (&mut self.watch, self.levels.last()) {
            watch.end_file(dir.as_fd(), &self.file_name);
        }
    }

    /// Whether the object just created is the root of the tree.
    fn is_root(&self) -> bool {
        self.levels.is_empty()
    }

    /// Writes the contents that stand next in the archive.
    fn fill(&mut self, file: &OwnedFd, size: u64) -> Result<()> {
        let mut write_back = WriteBack::new(self.options.flush);
        if size >= TRANSFER_MIN {
            self.fill_around(file, &mut write_back)?;
        }
        loop {
            let chunk = match self.nar.next_chunk() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(()),
                Err(e) => return Err(e),
            };
            let written = write_all(file, chunk);
            let n = chunk.len() as u64;
            if let (Some(watch), false) = (&mut self.watch, self.levels.is_empty()) {
                watch.contents(chunk);
            }
            written.map_err(|e| self.failed("write file", e))?;
            write_back.wrote(file, n);
        }
    }

    /// Moves contents from the input into the file inside the kernel, as far as there is a way.
    fn fill_around(&mut self, file: &OwnedFd, write_back: &mut WriteBack) -> Result<()> {
        while self.nar.contents_left() > 0 {
            let left = self.nar.contents_left();
            match (self.transfer)(self.nar.below()?, file.as_fd(), left) {
                Ok(Some(0)) => return Err(self.nar.truncated()),
                Ok(Some(n)) => {
                    self.nar.took(n)?;
                    write_back.wrote(file, n);
                }
                // What is in the buffer goes first.
                Ok(None) => {
                    let Some(chunk) = self.nar.next_chunk()? else {
                        return Ok(());
                    };
                    let written = write_all(file, chunk);
                    let n = chunk.len() as u64;
                    if let (Some(watch), false) = (&mut self.watch, self.levels.is_empty()) {
                        watch.contents(chunk);
                    }
                    written.map_err(|e| self.failed("write file", e))?;
                    write_back.wrote(file, n);
                }
                Err(source) => {
                    let path = self.path();
                    return Err(Error::File {
                        operation: "write file",
                        path,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    fn finish_file(&mut self, file: &OwnedFd, executable: bool) -> Result<()> {
        if self.options.metadata != Metadata::Canonical {
            return Ok(());
        }
        let mode = file_mode(executable);
        // The umask is the same for all files: one look for each mode will do.
        let kept = match self.mode_kept[usize::from(executable)] {
            Some(kept) => kept,
            None => {
                let stat = fstat(file).map_err(|e| self.failed("stat", e))?;
                let kept = Mode::from_raw_mode(stat.st_mode) == mode;
                self.mode_kept[usize::from(executable)] = Some(kept);
                kept
            }
        };
        if !kept {
            fchmod(file, mode).map_err(|e| self.failed("change mode of", e))?;
        }
        futimens(file, &CANONICAL_TIMES).map_err(|e| self.failed("set time of", e))
    }

    /// Finishes the innermost directory, after its last entry.
    fn end_directory(&mut self) -> Result<()> {
        let Some(dir) = self.levels.pop() else {
            return Ok(());
        };
        if self.options.metadata != Metadata::Canonical {
            return Ok(());
        }
        let writable = self.levels.is_empty() && self.options.root_writable;
        let mode = Mode::from_raw_mode(if writable { 0o755 } else { 0o555 });
        fchmod(&dir, mode).map_err(|e| self.failed("change mode of", e))?;
        futimens(&dir, &CANONICAL_TIMES).map_err(|e| self.failed("set time of", e))
    }

    fn failed(&self, operation: &'static str, e: Errno) -> Error {
        Error::File {
            operation,
            path: self.path(),
            source: e.into(),
        }
    }

    /// The path of the node at hand, relative to the parent of the tree.
    fn path(&self) -> PathBuf {
        let mut path = PathBuf::from(self.name);
        let inner = self.nar.path();
        if !inner.is_empty() {
            path.push(OsStr::from_bytes(&inner));
        }
        path
    }
}

fn create_directory(
    dir: BorrowedFd<'_>,
    name: &[u8],
    canonical: bool,
) -> Result<OwnedFd, (&'static str, Errno)> {
    // Nobody else needs to look in before the directory is complete.
    let mode = Mode::from_raw_mode(if canonical { 0o700 } else { 0o777 });
    mkdirat(dir, name, mode).map_err(|e| ("create directory", e))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map_err(|e| ("open directory", e))
}

fn create_symlink(
    dir: BorrowedFd<'_>,
    name: &[u8],
    target: &BStr,
    canonical: bool,
) -> Result<(), (&'static str, Errno)> {
    symlinkat(&**target, dir, name).map_err(|e| ("create symlink", e))?;
    if canonical {
        utimensat(dir, name, &CANONICAL_TIMES, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| ("set time of", e))?;
    }
    Ok(())
}

fn create_file(
    dir: BorrowedFd<'_>,
    name: &[u8],
    executable: bool,
    canonical: bool,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = match (canonical, executable) {
        (true, _) => file_mode(executable),
        (false, true) => Mode::from_raw_mode(0o777),
        (false, false) => Mode::from_raw_mode(0o666),
    };
    openat(dir, name, flags, mode)
}

fn file_mode(executable: bool) -> Mode {
    Mode::from_raw_mode(if executable { 0o555 } else { 0o444 })
}

fn write_all(file: &OwnedFd, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match rustix::io::write(file, data) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => data = &data[n..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Starts write-back of one file, a window at a time.
struct WriteBack {
    active: bool,
    started: u64,
    written: u64,
}

impl WriteBack {
    fn new(flush: Flush) -> Self {
        Self {
            active: flush == Flush::StartWriteback,
            started: 0,
            written: 0,
        }
    }

    fn wrote(&mut self, file: &OwnedFd, n: u64) {
        self.written += n;
        let pending = self.written - self.started;
        if !self.active || pending < WRITE_BACK {
            return;
        }
        // The kernel answers "not needed again" by starting to write dirty
        // pages out. It is a hint: nothing depends on its success.
        let _ = fadvise(
            file,
            self.started,
            std::num::NonZeroU64::new(pending),
            Advice::DontNeed,
        );
        self.started = self.written;
    }
}

/// Access time as it is; modification one second after 1970 began.
const CANONICAL_TIMES: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    },
    last_modification: Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    },
};

/// From this size on contents are moved inside the kernel, if they can be.
const TRANSFER_MIN: u64 = 128 * 1024;

/// Bytes of one file between two starts of write-back.
const WRITE_BACK: u64 = 8 * 1024 * 1024;
