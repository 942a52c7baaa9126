//! Writes the archive of a tree on disk.
//!
//! Every object is opened relative to the descriptor of its directory and
//! never through a symbolic link. Nothing is asked twice: `d_type` tells what
//! an entry is, and only files are then `fstat`ed, for size and execute bit.
//! Contents are read straight into the archive's buffer; to a raw descriptor,
//! large ones go inside the kernel.

use std::ffi::{CStr, OsStr};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, fstat, openat, readlinkat_raw, statat,
};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::error::{Error, Result};
use crate::fs::pipe::FdOut;
use crate::token::{MAX_DEPTH, MAX_TARGET};
use crate::write::NarWriter;

#[cfg(test)]
mod tests;

/// Writes the archive of the tree at `root` to `out`, and gives its size in bytes.
///
/// `root` itself may be a symbolic link, which is then what is archived. A
/// file that grows meanwhile is archived with the size that it had when it was
/// opened. `out` gets pieces of up to 128 KiB and is flushed at the end.
///
/// # Errors
/// [`Error::UnsupportedType`] for anything but files, directories and links,
/// [`Error::Changed`] when a file shrinks meanwhile, [`Error::TooDeep`],
/// [`Error::File`] for failing system calls, [`Error::Write`] for `out`.
pub fn dump(root: &Path, out: &mut impl Write) -> Result<u64> {
    Dumper::new(root.to_owned(), Plain(out)).run(CWD, root)
}

/// Like [`dump`], for the entry `name` of an open directory.
///
/// # Errors
/// As for [`dump`].
pub fn dump_at(parent: BorrowedFd<'_>, name: &OsStr, out: &mut impl Write) -> Result<u64> {
    Dumper::new(name.into(), Plain(out)).run(parent, name)
}

/// Like [`dump_at`], but where that is permitted, files and directories keep the time of
/// their last access: for looks that are no use of an object.
///
/// # Errors
/// As for [`dump`].
pub fn dump_at_unnoticed(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    out: &mut impl Write,
) -> Result<u64> {
    let mut dumper = Dumper::new(name.into(), Plain(out));
    dumper.access = OFlags::NOATIME;
    dumper.run(parent, name)
}

/// Like [`dump`], to a descriptor. Contents of large files don't pass through
/// this process where the kernel can do without.
///
/// # Errors
/// As for [`dump`].
pub fn dump_to_fd(root: &Path, out: BorrowedFd<'_>) -> Result<u64> {
    Dumper::new(root.to_owned(), FdOut::new(out)).run(CWD, root)
}

/// Like [`dump_to_fd`], for the entry `name` of an open directory.
///
/// # Errors
/// As for [`dump`].
pub fn dump_at_to_fd(parent: BorrowedFd<'_>, name: &OsStr, out: BorrowedFd<'_>) -> Result<u64> {
    Dumper::new(name.into(), FdOut::new(out)).run(parent, name)
}

/// Where archives go.
pub(crate) trait Output: Write {
    /// Moves up to `most` bytes from where `file` stands; `None` if this
    /// output has no way to do so, 0 at the end of the file.
    fn transfer(&mut self, file: BorrowedFd<'_>, most: u64) -> std::io::Result<Option<u64>>;
}

struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.write(data)
    }

    fn write_all(&mut self, data: &[u8]) -> std::io::Result<()> {
        self.0.write_all(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Output for Plain<W> {
    fn transfer(&mut self, _: BorrowedFd<'_>, _: u64) -> std::io::Result<Option<u64>> {
        Ok(None)
    }
}

struct Dumper<O> {
    root: PathBuf,
    writer: NarWriter<O>,
    /// Listings that are done with, for their memory.
    spare: Vec<Listing>,
    dirents: Vec<u8>,
    target: Box<[u8]>,
    /// More flags for opening, which only some owners may use.
    access: OFlags,
}

/// An open directory.
struct Level {
    dir: OwnedFd,
    listing: Listing,
    next: usize,
}

/// The entries of one directory, sorted by the bytes of their names.
#[derive(Default)]
struct Listing {
    /// All names, each with its NUL.
    names: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    /// Behind the NUL.
    end: usize,
    kind: FileType,
}

impl<O: Output> Dumper<O> {
    fn new(root: PathBuf, out: O) -> Self {
        Self {
            root,
            writer: NarWriter::new(out),
            spare: Vec::new(),
            dirents: Vec::with_capacity(DIRENTS),
            target: vec![0; MAX_TARGET + 1].into_boxed_slice(),
            access: OFlags::empty(),
        }
    }

    fn run(mut self, parent: BorrowedFd<'_>, name: impl Arg) -> Result<u64> {
        let name = name.into_c_str().map_err(|e| self.failed("open", b"", e))?;
        let mut levels: Vec<Level> = Vec::new();
        levels.extend(self.node(parent, &name, b"", FileType::Unknown)?);
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else {
                break;
            };
            if let Some(&entry) = level.listing.entries.get(level.next) {
                level.next += 1;
                let name = &level.listing.names[entry.start..entry.end];
                let name = CStr::from_bytes_with_nul(name).unwrap_or_default();
                if depth >= MAX_DEPTH {
                    return Err(Error::TooDeep {
                        path: self.path_of(name.to_bytes()),
                    });
                }
                let opened = self.node(level.dir.as_fd(), name, name.to_bytes(), entry.kind)?;
                levels.extend(opened);
            } else {
                self.writer.end_directory()?;
                self.spare.extend(levels.pop().map(|level| level.listing));
            }
        }
        Ok(self.writer.finish()?.1)
    }

    /// Writes one node, known in the archive as `entry`; a directory is given back open.
    fn node(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        entry: &[u8],
        kind: FileType,
    ) -> Result<Option<Level>> {
        match kind {
            FileType::RegularFile => self.regular(dir, name, entry).map(|()| None),
            FileType::Symlink => self.symlink(dir, name, entry).map(|()| None),
            FileType::Directory => self.directory(dir, name, entry).map(Some),
            FileType::Unknown => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| self.failed("stat", entry, e))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Unknown => Err(Error::UnsupportedType {
                        path: self.path_of(entry),
                    }),
                    known => self.node(dir, name, entry, known),
                }
            }
            _ => Err(Error::UnsupportedType {
                path: self.path_of(entry),
            }),
        }
    }

    fn symlink(&mut self, dir: BorrowedFd<'_>, name: &CStr, entry: &[u8]) -> Result<()> {
        let len = readlinkat_raw(dir, name, &mut *self.target)
            .map_err(|e| self.failed("read link", entry, e))?;
        self.writer.symlink(entry, &self.target[..len])
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &CStr, entry: &[u8]) -> Result<Level> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = self
            .open(dir, name, flags)
            .map_err(|e| self.failed("open directory", entry, e))?;
        let mut listing = self.spare.pop().unwrap_or_default();
        listing
            .read(&dir, &mut self.dirents)
            .map_err(|e| self.failed("read directory", entry, e))?;
        self.writer.directory(entry)?;
        Ok(Level {
            dir,
            listing,
            next: 0,
        })
    }

    fn regular(&mut self, dir: BorrowedFd<'_>, name: &CStr, entry: &[u8]) -> Result<()> {
        // Should the file have become a fifo, NONBLOCK keeps the open from waiting.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self
            .open(dir, name, flags)
            .map_err(|e| self.failed("open file", entry, e))?;
        let stat = fstat(&file).map_err(|e| self.failed("stat", entry, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::Changed {
                path: self.path_of(entry),
            });
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
        self.writer.regular(entry, executable, size)?;
        if size >= TRANSFER_MIN {
            self.transfer(file.as_fd(), entry)?;
        }
        while self.writer.contents_left() > 0 {
            let n = match rustix::io::read(&file, self.writer.room()?) {
                Err(Errno::INTR) => continue,
                Err(e) => return Err(self.failed("read", entry, e)),
                Ok(0) => {
                    return Err(Error::Changed {
                        path: self.path_of(entry),
                    });
                }
                Ok(n) => n,
            };
            self.writer.filled_room(n)?;
        }
        Ok(())
    }

    fn open(&self, dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        match openat(dir, name, flags | self.access, Mode::empty()) {
            Err(Errno::PERM) if !self.access.is_empty() => openat(dir, name, flags, Mode::empty()),
            opened => opened,
        }
    }

    /// Moves contents past this process, as far as the output can.
    fn transfer(&mut self, file: BorrowedFd<'_>, entry: &[u8]) -> Result<()> {
        while self.writer.contents_left() > 0 {
            let most = self.writer.contents_left();
            match self.writer.below()?.transfer(file, most) {
                Ok(None) => return Ok(()),
                Ok(Some(0)) => {
                    return Err(Error::Changed {
                        path: self.path_of(entry),
                    });
                }
                Ok(Some(n)) => self.writer.bypassed(n)?,
                Err(source) => {
                    return Err(Error::Write {
                        offset: self.writer.offset(),
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    fn failed(&self, operation: &'static str, entry: &[u8], e: Errno) -> Error {
        Error::File {
            operation,
            path: self.path_of(entry),
            source: e.into(),
        }
    }

    /// The path on disk of an entry of the innermost directory.
    fn path_of(&self, entry: &[u8]) -> PathBuf {
        let mut path = self.root.clone();
        let inner = self.writer.directory_path();
        for part in [inner.as_slice(), entry] {
            if !part.is_empty() {
                path.push(OsStr::from_bytes(part));
            }
        }
        path
    }
}

impl Listing {
    fn read(&mut self, dir: &OwnedFd, dirents: &mut Vec<u8>) -> Result<(), Errno> {
        self.names.clear();
        self.entries.clear();
        let mut raw = RawDir::new(dir, dirents.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let start = self.names.len();
            self.names.extend_from_slice(name.to_bytes_with_nul());
            self.entries.push(Entry {
                start,
                end: self.names.len(),
                kind: entry.file_type(),
            });
        }
        let names = &self.names;
        // With its NUL a name still sorts before all that it is a prefix of.
        self.entries
            .sort_unstable_by(|a, b| names[a.start..a.end].cmp(&names[b.start..b.end]));
        Ok(())
    }
}

/// Room for directory entries from one system call.
const DIRENTS: usize = 32 * 1024;

/// From this size on contents are moved inside the kernel, if they can be.
const TRANSFER_MIN: u64 = 128 * 1024;
