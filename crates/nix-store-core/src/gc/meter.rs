//! How many bytes the removal of trees would free, without removing them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::report::Freed;

/// Adds up what is freed when one tree after the other goes. A file with several names
/// counts when the last of them goes, that in `.links` excepted, which goes by itself.
#[derive(Debug)]
pub(super) struct Meter<'s> {
    store: BorrowedFd<'s>,
    /// The files in `.links`, once one of them may matter.
    links: Option<HashSet<Inode>>,
    /// How many names are left of each file that had several.
    names: HashMap<Inode, u32>,
    dirents: Vec<u8>,
}

/// What tells a file from others.
type Inode = (u32, u32, u64);

/// A directory on the way down.
struct Level {
    dir: OwnedFd,
    pending: Vec<CString>,
}

impl<'s> Meter<'s> {
    /// Nothing has gone yet from the store directory `store`.
    pub(super) fn new(store: BorrowedFd<'s>) -> Self {
        Self {
            store,
            links: None,
            names: HashMap::new(),
            dirents: Vec::with_capacity(DIRENTS),
        }
    }

    /// What is freed when the entry `name` of the store goes as well. What can't be looked
    /// at counts as nothing.
    pub(super) fn without(&mut self, name: &CStr) -> Freed {
        let Ok(stat) = look(self.store, name) else {
            return Freed::default();
        };
        if !is_directory(&stat) {
            return self.file(&stat);
        }
        let mut freed = Freed::default();
        let mut levels: Vec<Level> = Vec::new();
        levels.extend(self.read(self.store, name, &mut freed));
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.pending.pop() else {
                levels.pop();
                continue;
            };
            // Nothing that Nix accepts is deeper.
            if levels.len() < DEEPEST
                && let Some(above) = levels.last()
            {
                let next = self.read(above.dir.as_fd(), &name, &mut freed);
                levels.extend(next);
            }
        }
        freed
    }

    /// Adds up the files of a directory, and lists its directories.
    fn read(&mut self, parent: BorrowedFd<'_>, name: &CStr, freed: &mut Freed) -> Option<Level> {
        let dir = open_unnoticed(parent, name).ok()?;
        let mut pending = Vec::new();
        let mut buffer = std::mem::take(&mut self.dirents);
        let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
        while let Some(Ok(entry)) = entries.next() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                pending.push(name.to_owned());
                continue;
            }
            match look(dir.as_fd(), name) {
                Ok(stat) if is_directory(&stat) => pending.push(name.to_owned()),
                Ok(stat) => *freed += self.file(&stat),
                Err(_) => {}
            }
        }
        self.dirents = buffer;
        Some(Level { dir, pending })
    }

    fn file(&mut self, stat: &Statx) -> Freed {
        let bytes = size(stat);
        if stat.stx_nlink <= 1 {
            return bytes;
        }
        let inode = inode(stat);
        let left = match self.names.entry(inode) {
            Entry::Occupied(mut entry) => {
                *entry.get_mut() = entry.get().saturating_sub(1);
                *entry.get()
            }
            Entry::Vacant(entry) => {
                let store = self.store;
                let links = self.links.get_or_insert_with(|| links_of(store));
                let others = stat.stx_nlink - 1 - u32::from(links.contains(&inode));
                *entry.insert(others)
            }
        };
        match left {
            0 => {
                // A tree that changes meanwhile must not make it count twice.
                self.names.insert(inode, u32::MAX);
                bytes
            }
            _ => Freed::default(),
        }
    }
}

/// The files that have a name in `.links`.
fn links_of(store: BorrowedFd<'_>) -> HashSet<Inode> {
    let mut links = HashSet::new();
    let Ok(dir) = open_unnoticed(store, c".links") else {
        return links;
    };
    let found = super::entries::each_name(dir.as_fd(), Path::new(".links"), |name| {
        links.extend(look(dir.as_fd(), name).ok().map(|stat| inode(&stat)));
    });
    if let Err(error) = found {
        tracing::debug!(error = &error as &dyn std::error::Error, "links not read");
    }
    links
}

/// Opens a directory without a trace of that in its access time, where that is permitted.
pub(super) fn open_unnoticed(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(parent, name, flags, Mode::empty()),
        opened => opened,
    }
}

/// The kind, names and size of an entry of `dir`.
pub(super) fn look(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Statx> {
    let wanted = StatxFlags::TYPE
        | StatxFlags::NLINK
        | StatxFlags::BLOCKS
        | StatxFlags::SIZE
        | StatxFlags::INO
        | StatxFlags::ATIME
        | StatxFlags::MODE;
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, wanted)
}

pub(super) fn is_directory(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory
}

/// The room that a file takes.
pub(super) fn size(stat: &Statx) -> Freed {
    Freed {
        on_disk: stat.stx_blocks.saturating_mul(BLOCK),
        lengths: stat.stx_size,
    }
}

fn inode(stat: &Statx) -> Inode {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
}

/// The unit in which the kernel counts the space of a file.
const BLOCK: u64 = 512;
/// The most directories that are open at once.
const DEEPEST: usize = 80;
/// Room for directory entries from one system call.
const DIRENTS: usize = 32 * 1024;
