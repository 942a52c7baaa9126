//! Permanent roots: symlinks and file names below `STATE/gcroots` and `STATE/profiles`.
//!
//! ```text
//! directory                        descended, not through symlinks
//! symlink to below the store       names its root
//! symlink elsewhere                indirect: a symlink there, to below the store, names its root;
//!                                  below gcroots/auto, removed when nothing is there
//! file                             its name is that of the path
//! ```

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use nix_base::StorePath;

use super::RootNote;
use super::found::{Found, in_store, object};
use crate::layout::StoreLayout;
use crate::lock::{GcLock, LockMode, Wait};

/// What becomes of links below `gcroots/auto` whose target is gone.
#[derive(Debug)]
pub(super) enum Stale {
    /// They stay.
    Keep,
    /// They are removed; the caller has the collector lock.
    Remove,
    /// They are removed unless a collector runs. It reads the same directory, in which a name may
    /// be missed while it is changed.
    RemoveBesideNoCollector,
    /// As before, and it is known that none runs.
    RemoveUnder(#[allow(dead_code, reason = "held for its effect")] GcLock),
}

/// Finds all permanent roots.
pub(super) fn find(layout: &StoreLayout, stale: Stale, found: &mut Found) {
    let mut walk = Walk {
        layout,
        auto: layout.gc_roots_dir().join("auto"),
        stale,
        found,
        pending: Vec::new(),
    };
    for top in [layout.gc_roots_dir(), layout.profiles_dir()] {
        // An operator may have moved these two elsewhere, and left a link.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&top, flags, Mode::empty()) {
            Ok(fd) => walk.read(&Rc::new(fd), &top, 0),
            Err(Errno::NOENT) => {}
            Err(error) => walk.found.unreadable(&top, error),
        }
        walk.run();
    }
}

struct Walk<'a> {
    layout: &'a StoreLayout,
    auto: PathBuf,
    stale: Stale,
    found: &'a mut Found,
    pending: Vec<Below>,
}

/// A directory to be read.
struct Below {
    parent: Rc<OwnedFd>,
    path: PathBuf,
    depth: usize,
}

impl Walk<'_> {
    /// Reads all directories pending, deepest first: there are no more descriptors open than the
    /// tree has levels.
    fn run(&mut self) {
        while let Some(Below {
            parent,
            path,
            depth,
        }) = self.pending.pop()
        {
            let name = path.file_name().unwrap_or_default();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&*parent, name, flags, Mode::empty()) {
                Ok(fd) => self.read(&Rc::new(fd), &path, depth),
                // It has vanished, or is something else by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => self.found.unreadable(&path, error),
            }
        }
    }

    fn read(&mut self, fd: &Rc<OwnedFd>, path: &Path, depth: usize) {
        let entries = match Dir::read_from(&**fd) {
            Ok(entries) => entries,
            Err(error) => return self.found.unreadable(path, error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.found.unreadable(path, error),
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            match kind(fd, name, entry.file_type()) {
                Ok(FileType::Directory) if depth >= DEEPEST => {
                    self.found.unreadable(&path, Errno::NAMETOOLONG);
                }
                Ok(FileType::Directory) => self.pending.push(Below {
                    parent: Rc::clone(fd),
                    path,
                    depth: depth + 1,
                }),
                Ok(FileType::Symlink) => self.link(fd, name, path),
                Ok(FileType::RegularFile) => {
                    if let Ok(target) = StorePath::from_base_name_bytes(name.to_bytes()) {
                        self.found.add(super::RootSource::Link(path), target);
                    }
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => self.found.unreadable(&path, error),
            }
        }
    }

    fn link(&mut self, dir: &OwnedFd, name: &CStr, link: PathBuf) {
        let target = match read_link(dir, name) {
            Ok(target) => target,
            Err(Errno::NOENT) => return,
            Err(error) => return self.found.unreadable(&link, error),
        };
        if let Some(below) = in_store(&self.layout.store_dir, &target) {
            if let Some(path) = object(below) {
                self.found.add_link(link, path, target);
            }
            return;
        }
        let target = absolute(&link, &target);
        match look(&target) {
            Ok(stat) if is_symlink(&stat) => self.indirect(target),
            Ok(_) => {}
            Err(Errno::NOENT | Errno::NOTDIR) => {
                if link.starts_with(&self.auto) && self.may_remove() {
                    self.remove_stale(dir, name, link, target);
                }
            }
            // Nothing can be reached by such a path.
            Err(Errno::LOOP | Errno::NAMETOOLONG) => {}
            Err(error) => self.found.unreadable(&target, error),
        }
    }

    /// A symlink of a user, to which one of ours leads.
    fn indirect(&mut self, link: PathBuf) {
        match read_link(CWD, &link) {
            Ok(target) => {
                if let Some(path) = in_store(&self.layout.store_dir, &target).and_then(object) {
                    self.found.add_link(link, path, target);
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => {}
            Err(error) => self.found.unreadable(&link, error),
        }
    }

    fn may_remove(&mut self) -> bool {
        if matches!(self.stale, Stale::RemoveBesideNoCollector) {
            let state = &self.layout.state;
            self.stale = match GcLock::acquire(state, LockMode::Shared, Wait::Never) {
                Ok(Some(lock)) => Stale::RemoveUnder(lock),
                _ => Stale::Keep,
            };
        }
        !matches!(self.stale, Stale::Keep)
    }

    /// Removes a link whose target is gone, unless it has come back.
    ///
    /// Somebody may just be making this root anew, first the target and then the link to it, and
    /// the new link must not be removed. So the link, old or new, is moved aside first; and if the
    /// target isn't there even then, the link was the old one.
    fn remove_stale(&mut self, dir: &OwnedFd, name: &CStr, link: PathBuf, target: PathBuf) {
        let Ok(random) = getrandom::u64() else {
            return;
        };
        let aside = format!(".stale-{random:016x}");
        if rustix::fs::renameat(dir, name, dir, &aside).is_err() {
            return;
        }
        if matches!(look(&target), Err(Errno::NOENT | Errno::NOTDIR)) {
            // If it stays, it's just as stale under its new name.
            let _ = rustix::fs::unlinkat(dir, &aside, AtFlags::empty());
            let note = RootNote::StaleRemoved { link, target };
            return self.found.notes.push(note);
        }
        let back = rustix::fs::renameat_with(dir, &aside, dir, name, RenameFlags::NOREPLACE);
        if back == Err(Errno::EXIST) {
            let _ = rustix::fs::unlinkat(dir, &aside, AtFlags::empty());
        }
        self.indirect(target);
    }
}

fn kind(dir: &OwnedFd, name: &CStr, told: FileType) -> Result<FileType, Errno> {
    if told != FileType::Unknown {
        return Ok(told);
    }
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn read_link(dir: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
}

fn look(path: &Path) -> Result<Stat, Errno> {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
}

fn is_symlink(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

/// Where the target of a link leads, with `.` and `..` taken out.
///
/// Nix compat: by the letters alone, without a look at the directories.
fn absolute(link: &Path, target: &Path) -> PathBuf {
    let mut path = link.parent().unwrap_or(Path::new("/")).to_owned();
    for component in target.components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::RootDir => path = PathBuf::from("/"),
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

/// How many directories below each other are read. No tool makes more than a few.
const DEEPEST: usize = 128;
