//! Finds where in a tree on disk references stand: in which files and symlinks, and how far in.
//!
//! Like [`dump`](super::dump), it opens everything relative to the descriptor of its directory
//! and follows no symbolic link. Names, in the order of archives, then contents.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bstr::BString;
use nix_base::StorePathHash;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::{Errno, pread};

use crate::error::{Error, Result};
use crate::needles::{NEEDLE, Needles};
use crate::token::MAX_DEPTH;

#[cfg(test)]
mod tests;

/// A file or symlink in which a hash stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The hash.
    pub hash: StorePathHash,
    /// Where the file is below the root; empty for the root itself.
    pub path: BString,
    /// What it is.
    pub kind: PlaceKind,
    /// Where the hash stands first, in bytes.
    pub offset: u64,
    /// How often it stands there.
    pub count: u64,
    /// The hash with what can be read to the left and right of it.
    pub excerpt: BString,
}

/// What a hash was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// The contents of a file.
    File,
    /// The target of a symlink.
    Symlink,
}

/// How much is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// One place for each hash, the first.
    First,
    /// All files and symlinks that have any of the hashes.
    All,
}

/// Looks for `hashes` in the tree at the entry `name` of an open directory.
///
/// # Errors
/// [`Error::File`] for what can't be read, [`Error::TooDeep`].
pub fn find_hashes(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    hashes: impl IntoIterator<Item = StorePathHash>,
    extent: Extent,
) -> Result<Vec<Place>> {
    let mut finder = Finder {
        root: name.into(),
        needles: Needles::new(hashes),
        extent,
        missing: BTreeSet::new(),
        places: Vec::new(),
        path: Vec::new(),
        buffer: vec![0; BLOCK].into(),
    };
    finder.missing = finder.needles.hashes().iter().copied().collect();
    finder.run(parent, name)?;
    Ok(finder.places)
}

struct Finder {
    root: PathBuf,
    needles: Needles,
    extent: Extent,
    /// What was found nowhere yet.
    missing: BTreeSet<StorePathHash>,
    places: Vec<Place>,
    /// Of the innermost directory, below the root.
    path: Vec<u8>,
    buffer: Box<[u8]>,
}

/// An open directory.
struct Level {
    dir: OwnedFd,
    /// In reverse order.
    names: Vec<CString>,
    /// How long the path of the directory around it is.
    outer: usize,
}

/// A hash in one file.
struct Hit {
    needle: usize,
    offset: u64,
    count: u64,
}

impl Finder {
    fn run(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        let name = CString::new(name.as_bytes()).map_err(|_| self.failed("open", Errno::INVAL))?;
        let mut levels: Vec<Level> = Vec::new();
        levels.extend(self.node(parent, &name, 0)?);
        while let Some(level) = levels.last_mut() {
            if self.is_done() {
                return Ok(());
            }
            let Some(name) = level.names.pop() else {
                self.path.truncate(level.outer);
                levels.pop();
                continue;
            };
            let outer = self.path.len();
            if outer > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            let inner = self.node(level.dir.as_fd(), &name, outer)?;
            match inner {
                Some(_) if levels.len() >= MAX_DEPTH => {
                    let path = self.here();
                    return Err(Error::TooDeep { path });
                }
                Some(inner) => levels.push(inner),
                None => self.path.truncate(outer),
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.extent == Extent::First && self.missing.is_empty()
    }

    /// Looks into a file or symlink; a directory is given back open.
    fn node(&mut self, dir: BorrowedFd<'_>, name: &CString, outer: usize) -> Result<Option<Level>> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed("stat", error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.regular(dir, name).map(|()| None),
            FileType::Symlink => self.symlink(dir, name).map(|()| None),
            FileType::Directory => self.directory(dir, name, outer).map(Some),
            _ => Err(Error::UnsupportedType { path: self.here() }),
        }
    }

    fn directory(&self, dir: BorrowedFd<'_>, name: &CString, outer: usize) -> Result<Level> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(dir, name, flags, Mode::empty())
            .map_err(|error| self.failed("open directory", error))?;
        let entries = Dir::read_from(&dir).map_err(|error| self.failed("read directory", error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.failed("read directory", error))?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level { dir, names, outer })
    }

    fn symlink(&mut self, dir: BorrowedFd<'_>, name: &CString) -> Result<()> {
        let target = readlinkat(dir, name, Vec::new())
            .map_err(|error| self.failed("read link", error))?
            .into_bytes();
        let mut hits = Vec::new();
        self.needles.find(&target, |start, needle| {
            count(&mut hits, needle, as_u64(start))
        });
        for hit in hits {
            if self.is_wanted(&hit) {
                let at = usize::try_from(hit.offset).unwrap_or(0);
                self.keep(&hit, PlaceKind::Symlink, readable(&target, at));
            }
        }
        Ok(())
    }

    fn regular(&mut self, dir: BorrowedFd<'_>, name: &CString) -> Result<()> {
        // Should the file have become a fifo, NONBLOCK keeps the open from waiting.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(dir, name, flags, Mode::empty())
            .map_err(|error| self.failed("open file", error))?;
        let mut hits = Vec::new();
        // Where the buffer begins in the file, and how much of it is left from before.
        let (mut start, mut kept) = (0, 0);
        loop {
            let n = match rustix::io::read(&file, &mut self.buffer[kept..]) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(self.failed("read", error)),
                Ok(0) => break,
                Ok(n) => n,
            };
            let filled = kept + n;
            self.needles.find(&self.buffer[..filled], |at, needle| {
                count(&mut hits, needle, start + as_u64(at));
            });
            // A hash may be cut by the end of the buffer, but none is seen twice.
            kept = filled.min(NEEDLE - 1);
            self.buffer.copy_within(filled - kept..filled, 0);
            start += as_u64(filled - kept);
        }
        for hit in hits {
            if self.is_wanted(&hit) {
                let excerpt =
                    excerpt(&file, hit.offset).map_err(|error| self.failed("read", error))?;
                self.keep(&hit, PlaceKind::File, excerpt);
            }
        }
        Ok(())
    }

    /// Whether a place is told; with [`Extent::First`] others need no look.
    fn is_wanted(&self, hit: &Hit) -> bool {
        self.extent == Extent::All || self.missing.contains(&self.needles.hashes()[hit.needle])
    }

    fn keep(&mut self, hit: &Hit, kind: PlaceKind, excerpt: BString) {
        let hash = self.needles.hashes()[hit.needle];
        self.missing.remove(&hash);
        self.places.push(Place {
            hash,
            path: self.path.clone().into(),
            kind,
            offset: hit.offset,
            count: hit.count,
            excerpt,
        });
    }

    fn failed(&self, operation: &'static str, error: Errno) -> Error {
        Error::File {
            operation,
            path: self.here(),
            source: error.into(),
        }
    }

    fn here(&self) -> PathBuf {
        match self.path.is_empty() {
            true => self.root.clone(),
            false => self.root.join(OsStr::from_bytes(&self.path)),
        }
    }
}

fn count(hits: &mut Vec<Hit>, needle: usize, offset: u64) {
    match hits.iter_mut().find(|hit| hit.needle == needle) {
        Some(hit) => hit.count += 1,
        None => hits.push(Hit {
            needle,
            offset,
            count: 1,
        }),
    }
}

/// What stands around a hash at `offset` of a file.
fn excerpt(file: &OwnedFd, offset: u64) -> Result<BString, Errno> {
    let from = offset.saturating_sub(BEFORE as u64);
    let mut around = [0; BEFORE + NEEDLE + AFTER];
    let mut filled = 0;
    while filled < around.len() {
        match pread(file, &mut around[filled..], from + as_u64(filled)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(0) => break,
            Ok(n) => filled += n,
        }
    }
    let at = usize::try_from(offset - from).unwrap_or(0);
    Ok(readable(&around[..filled], at))
}

/// The text that goes on without a break to the left and right of the hash at `at`.
fn readable(bytes: &[u8], at: usize) -> BString {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~');
    let end = bytes.len().min(at + NEEDLE);
    let before = bytes[..at].iter().rev().take(BEFORE);
    let start = at - before.take_while(|byte| is_text(byte)).count();
    let after = bytes[end..].iter().take(AFTER);
    let end = end + after.take_while(|byte| is_text(byte)).count();
    bytes[start..end].into()
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// How much is read at a time.
const BLOCK: usize = 256 << 10;
/// How much of an excerpt stands before the hash, at most.
const BEFORE: usize = 48;
/// How much behind it.
const AFTER: usize = 64;
