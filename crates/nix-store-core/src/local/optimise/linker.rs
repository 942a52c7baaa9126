//! One file at a time: finds the link with its contents, or makes it one.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix_base::NarHash;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, linkat, statat, unlinkat};
use rustix::io::Errno;

use super::hash::{FileHasher, link_name};
use super::tree::{Touched, is_exhausted, open_file};
use crate::error::{Error, Result};

/// A file or symbolic link whose hash is known.
pub(super) struct Candidate<'c> {
    /// The directory that it is in.
    pub(super) dir: BorrowedFd<'c>,
    /// Its name there.
    pub(super) name: &'c CStr,
    /// What it was when it was hashed.
    pub(super) stat: Stat,
    /// Its hash.
    pub(super) hash: NarHash,
    /// The directory, if it has to look afterwards as it did before.
    pub(super) parent: Option<&'c Touched>,
    /// Whether others may take over its name, as they may in the store directory.
    pub(super) is_exposed: bool,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    /// It has a name in `.links` now.
    New,
    /// It had one.
    Same,
    /// It was replaced by a link.
    Replaced {
        /// It had no other name, so its disk space is free now.
        frees: bool,
    },
    /// There can be no more links to its contents.
    Full,
    /// Somebody was faster.
    Lost,
}

/// What to do with duplicates.
pub(super) enum Action<'a> {
    /// Count them: by hash, the inode that would be the link; and how many names inodes have
    /// that weren't seen.
    Count(Mutex<(HashMap<NarHash, u64>, HashMap<u64, u64>)>),
    /// Replace them, with the help of this directory for temporary names.
    Link(BorrowedFd<'a>),
}

impl Action<'_> {
    /// Whether the store is changed.
    pub(super) fn is_change(&self) -> bool {
        matches!(self, Self::Link(_))
    }
}

/// What a link has to be, to take the place of a file that survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survives {
    /// On stable storage.
    OnlyFlushed,
    /// Nothing in particular.
    Anyway,
}

/// What is known of links.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Inodes that are links.
    known: Mutex<HashSet<u64>>,
    /// Those whose contents were seen, each mixed with its hash, since the number of an inode
    /// is used again.
    verified: Mutex<HashSet<u64>>,
}

impl Memory {
    pub(super) fn is_link(&self, inode: u64) -> bool {
        lock(&self.known).contains(&inode)
    }

    /// Forgets, when there is much to be remembered.
    pub(super) fn tidy(&self) {
        if lock(&self.known).len() > MAX_KNOWN {
            lock(&self.known).clear();
            lock(&self.verified).clear();
        }
    }

    fn is_verified(&self, inode: u64, hash: &NarHash) -> bool {
        lock(&self.verified).contains(&mixed(inode, hash))
    }

    fn learn(&self, inode: u64, hash: &NarHash) {
        lock(&self.known).insert(inode);
        lock(&self.verified).insert(mixed(inode, hash));
    }
}

fn mixed(inode: u64, hash: &NarHash) -> u64 {
    let mut beginning = [0; 8];
    beginning.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_ne_bytes(beginning) ^ inode
}

/// Where links are, and what is known of them. Threads share it.
pub(super) struct Linker<'a> {
    pub(super) action: Action<'a>,
    /// `.links`; a store that was never written to may have none.
    links: Option<OwnedFd>,
    links_path: PathBuf,
    /// Where new links go for now, if not into `.links`.
    shelf: Option<BorrowedFd<'a>>,
    survives: Survives,
    memory: &'a Memory,
    corrupted: Mutex<Vec<PathBuf>>,
    /// What was put onto the shelf.
    new: Mutex<Vec<NarHash>>,
    next_temp: AtomicU64,
}

/// The name that the link to some contents has.
#[derive(Clone, Copy)]
struct LinkName<'l> {
    /// The directory: `.links`, or a shelf.
    links: BorrowedFd<'l>,
    name: &'l CStr,
    /// Where a link stands until it takes the place of a file.
    temp: BorrowedFd<'l>,
}

impl LinkName<'_> {
    fn stat(self) -> rustix::io::Result<Stat> {
        statat(self.links, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// What there is under the name of a link.
enum Found {
    Nothing,
    TheFile,
    Another,
}

impl<'a> Linker<'a> {
    pub(super) fn new(
        action: Action<'a>,
        links_path: PathBuf,
        shelf: Option<BorrowedFd<'a>>,
        survives: Survives,
        memory: &'a Memory,
    ) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let links = match rustix::fs::open(&links_path, flags, Mode::empty()) {
            Ok(links) => Some(links),
            Err(Errno::NOENT) if matches!(action, Action::Count(_)) => None,
            Err(error) => return Err(Error::io("open", &links_path, error)),
        };
        Ok(Self {
            action,
            links,
            links_path,
            shelf,
            survives,
            memory,
            corrupted: Mutex::default(),
            new: Mutex::default(),
            next_temp: AtomicU64::new(0),
        })
    }

    /// Learns which inodes are links, so that they needn't be hashed.
    pub(super) fn load(&self) -> Result<()> {
        let Some(links) = &self.links else {
            return Ok(());
        };
        let failed = |error| Error::io("list", &self.links_path, error);
        let mut known = lock(&self.memory.known);
        for entry in rustix::fs::Dir::read_from(links).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type() != FileType::Directory {
                known.insert(entry.ino());
            }
        }
        Ok(())
    }

    pub(super) fn is_link(&self, inode: u64) -> bool {
        self.memory.is_link(inode)
    }

    /// What was put onto the shelf.
    pub(super) fn take_new(&self) -> Vec<NarHash> {
        std::mem::take(&mut lock(&self.new))
    }

    pub(super) fn take_corrupted(&self) -> Vec<PathBuf> {
        std::mem::take(&mut lock(&self.corrupted))
    }

    /// Makes `file` a link, or one to it.
    pub(super) fn join(&self, file: &Candidate<'_>, hasher: &mut FileHasher) -> Result<Joined> {
        let name = &*link_name(&file.hash);
        let temp = match &self.action {
            Action::Count(seen) => return self.count(file, name, &mut lock(seen)),
            Action::Link(temp) => *temp,
        };
        let Some(links) = &self.links else {
            return Ok(Joined::Lost);
        };
        let links = links.as_fd();
        let link = LinkName { links, name, temp };
        let Some(shelf) = self.shelf else {
            return self.join_in(link, file, hasher);
        };
        match self.take_over(link, file, hasher)? {
            Some(joined) => Ok(joined),
            None => {
                let link = LinkName {
                    links: shelf,
                    ..link
                };
                self.join_shelf(link, file, hasher)
            }
        }
    }

    /// Joins with what is on the shelf, or adds to it.
    fn join_shelf(
        &self,
        link: LinkName<'_>,
        file: &Candidate<'_>,
        hasher: &mut FileHasher,
    ) -> Result<Joined> {
        let joined = self.join_in(link, file, hasher)?;
        let mut new = lock(&self.new);
        if joined == Joined::New && new.len() < MAX_NEW {
            new.push(file.hash);
        }
        Ok(joined)
    }

    /// Joins with the link, or makes it.
    fn join_in(
        &self,
        link: LinkName<'_>,
        file: &Candidate<'_>,
        hasher: &mut FileHasher,
    ) -> Result<Joined> {
        // Others may add and remove links meanwhile.
        for _ in 0..TRIES {
            match linkat(file.dir, file.name, link.links, link.name, AtFlags::empty()) {
                Ok(()) => return self.added(link, file),
                Err(Errno::EXIST) => {}
                Err(error) => return self.refused("link to", file, error),
            }
            if let Some(joined) = self.take_over(link, file, hasher)? {
                return Ok(joined);
            }
        }
        Ok(Joined::Lost)
    }

    fn added(&self, link: LinkName<'_>, file: &Candidate<'_>) -> Result<Joined> {
        if file.is_exposed {
            // It may have been another file already.
            match link.stat() {
                Ok(stat) if stat.st_ino == file.stat.st_ino => {}
                Ok(_) => {
                    self.unlink(link)?;
                    return Ok(Joined::Lost);
                }
                Err(_) => return Ok(Joined::Lost),
            }
        }
        self.memory.learn(file.stat.st_ino, &file.hash);
        Ok(Joined::New)
    }

    /// Replaces the file by the link. `None` if there is no good one.
    fn take_over(
        &self,
        link: LinkName<'_>,
        file: &Candidate<'_>,
        hasher: &mut FileHasher,
    ) -> Result<Option<Joined>> {
        match self.find(link, file, hasher)? {
            Found::Nothing => Ok(None),
            Found::TheFile => Ok(Some(Joined::Same)),
            Found::Another => self.replace(link, file),
        }
    }

    /// Looks at the link; removes it if it isn't what it should be.
    fn find(
        &self,
        link: LinkName<'_>,
        file: &Candidate<'_>,
        hasher: &mut FileHasher,
    ) -> Result<Found> {
        let stat = match link.stat() {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(error) => return Err(self.link_failed("examine link", link.name, error)),
        };
        let is_writable = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_mode & WRITABLE != 0;
        let is_right = stat.st_size == file.stat.st_size
            && FileType::from_raw_mode(stat.st_mode) == FileType::from_raw_mode(file.stat.st_mode)
            && !is_writable
            && (stat.st_ino == file.stat.st_ino
                // The file would take over what is wrong with it.
                || (is_canonical(&stat) || !is_canonical(&file.stat))
                    && (self.memory.is_verified(stat.st_ino, &file.hash)
                        || self.verify(link, &stat, file, hasher)?));
        if !is_right {
            // A collector may have removed it, and somebody made it anew.
            match link.stat() {
                Ok(now) if now.st_ino == stat.st_ino => {}
                _ => return Ok(Found::Nothing),
            }
            let path = self.link_path(link.name);
            // Nix compat: its words.
            tracing::warn!("removing corrupted link '{}'", path.display());
            lock(&self.corrupted).push(path);
            self.unlink(link)?;
            return Ok(Found::Nothing);
        }
        self.memory.learn(stat.st_ino, &file.hash);
        match stat.st_ino == file.stat.st_ino {
            true => Ok(Found::TheFile),
            false => Ok(Found::Another),
        }
    }

    /// Whether the link has the contents of the file. It survives a power cut then.
    fn verify(
        &self,
        link: LinkName<'_>,
        stat: &Stat,
        file: &Candidate<'_>,
        hasher: &mut FileHasher,
    ) -> Result<bool> {
        let failed = |error| self.link_failed("read link", link.name, error);
        // What can't be read is of no use to anybody.
        let useless = |error| match is_exhausted(error) {
            true => Err(failed(error)),
            false => Ok(false),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return match rustix::fs::readlinkat(link.links, link.name, Vec::new()) {
                Ok(target) => Ok(hasher.symlink(target.to_bytes()) == file.hash),
                Err(error) => useless(error),
            };
        }
        let opened = match open_file(link.links, link.name) {
            Ok(opened) => opened,
            Err(error) => return useless(error),
        };
        let executable = stat.st_mode & EXECUTABLE != 0;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let is_right = match hasher.regular(opened.as_fd(), executable, size) {
            Ok(hash) => hash == Some(file.hash),
            Err(error) => return useless(error),
        };
        if is_right && self.survives == Survives::OnlyFlushed && !self.is_link(stat.st_ino) {
            // It was linked since everything was flushed; protects the file that it replaces.
            rustix::fs::fdatasync(&opened).map_err(failed)?;
        }
        Ok(is_right)
    }

    /// Puts a link in the place of the file; `None` if the link is gone.
    fn replace(&self, link: LinkName<'_>, file: &Candidate<'_>) -> Result<Option<Joined>> {
        let temp = link.temp;
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        let spare = CString::new(format!("link-{number}")).unwrap_or_default();
        match linkat(link.links, link.name, temp, &spare, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return self.refused("link to", file, error).map(Some),
        }
        let exchanged = self.exchange(temp, &spare, file);
        let removed = unlinkat(temp, &spare, AtFlags::empty());
        match (exchanged?, removed) {
            (Joined::Replaced { .. }, Err(error)) if error != Errno::NOENT => {
                Err(self.file_failed("remove the duplicate of", file, error))
            }
            (joined, _) => Ok(Some(joined)),
        }
    }

    fn exchange(&self, temp: BorrowedFd<'_>, spare: &CStr, file: &Candidate<'_>) -> Result<Joined> {
        let exchange = |flags| rustix::fs::renameat_with(temp, spare, file.dir, file.name, flags);
        let mut done = exchange(RenameFlags::EXCHANGE);
        if let (Err(Errno::ACCESS), Some(parent)) = (done, file.parent) {
            parent.make_writable()?;
            done = exchange(RenameFlags::EXCHANGE);
        }
        // File systems without the flag.
        if matches!(done, Err(Errno::INVAL | Errno::NOSYS)) {
            done = exchange(RenameFlags::empty());
        }
        if let Err(error) = done {
            return self.refused("replace", file, error);
        }
        if let Some(parent) = file.parent {
            parent.touch();
        }
        match file.is_exposed {
            true => self.check_exchange(temp, spare, file),
            false => Ok(replaced(file)),
        }
    }

    /// Undoes an exchange with a file that isn't the one that was hashed.
    fn check_exchange(
        &self,
        temp: BorrowedFd<'_>,
        spare: &CStr,
        file: &Candidate<'_>,
    ) -> Result<Joined> {
        match statat(temp, spare, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(old) if old.st_ino != file.stat.st_ino => {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(temp, spare, file.dir, file.name, flags)
                    .map_err(|error| self.file_failed("put back", file, error))?;
                Ok(Joined::Lost)
            }
            _ => Ok(replaced(file)),
        }
    }

    /// What a refusal of the system means for the file.
    fn refused(&self, action: &'static str, file: &Candidate<'_>, error: Errno) -> Result<Joined> {
        match error {
            Errno::MLINK | Errno::NOSPC | Errno::DQUOT => Ok(Joined::Full),
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Ok(Joined::Lost),
            error => Err(self.file_failed(action, file, error)),
        }
    }

    /// What joining would do.
    fn count(
        &self,
        file: &Candidate<'_>,
        name: &CStr,
        (firsts, names_left): &mut (HashMap<NarHash, u64>, HashMap<u64, u64>),
    ) -> Result<Joined> {
        let inode = file.stat.st_ino;
        let linked = match &self.links {
            Some(links) => statat(links, name, AtFlags::SYMLINK_NOFOLLOW)
                .ok()
                .filter(|stat| stat.st_size == file.stat.st_size)
                .map(|stat| stat.st_ino),
            None => None,
        };
        let first = linked.unwrap_or_else(|| *firsts.entry(file.hash).or_insert(inode));
        if first != inode {
            let left = names_left.entry(inode).or_insert(file.stat.st_nlink);
            *left = left.saturating_sub(1);
            return Ok(Joined::Replaced { frees: *left == 0 });
        }
        let is_new = lock(&self.memory.known).insert(inode) && linked.is_none();
        Ok(if is_new { Joined::New } else { Joined::Same })
    }

    fn unlink(&self, link: LinkName<'_>) -> Result<()> {
        match unlinkat(link.links, link.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.link_failed("remove link", link.name, error)),
        }
    }

    fn link_path(&self, name: &CStr) -> PathBuf {
        self.links_path.join(OsStr::from_bytes(name.to_bytes()))
    }

    fn link_failed(&self, action: &'static str, name: &CStr, error: Errno) -> Error {
        Error::io(action, &self.link_path(name), error)
    }

    fn file_failed(&self, action: &'static str, file: &Candidate<'_>, error: Errno) -> Error {
        let name = OsStr::from_bytes(file.name.to_bytes());
        let path = match file.parent {
            Some(parent) => parent.dir().path().join(name),
            None => self.links_path.with_file_name(name),
        };
        Error::io(action, &path, error)
    }
}

/// Whether mode and time are those of every file in a store. Whose it is doesn't count: of two
/// owners either may be the wrong one.
fn is_canonical(stat: &Stat) -> bool {
    stat.st_mtime == 1
        && (FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || matches!(stat.st_mode & 0o7777, 0o444 | 0o555))
}

fn replaced(file: &Candidate<'_>) -> Joined {
    Joined::Replaced {
        frees: file.stat.st_nlink == 1,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most names that are remembered of a tree: a client decides how many files it has.
const MAX_NEW: usize = 100_000;
/// Most inodes that are remembered from tree to tree.
const MAX_KNOWN: usize = 50_000;
/// How often a link may vanish under us.
const TRIES: u32 = 5;
const WRITABLE: u32 = 0o222;
pub(super) const EXECUTABLE: u32 = 0o100;
