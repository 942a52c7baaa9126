//! Whether files, directories and links have the metadata that all objects of a store have.
//! Nothing is changed by looking.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::problem::MetadataFault;
use crate::error::{Error, Result};
use crate::local::LocalStore;
use crate::local::canonicalise::IGNORED_ATTRIBUTES;

/// What is wrong in a tree.
#[derive(Debug)]
pub(super) struct FaultyMetadata {
    /// The first file where something is.
    pub(super) file: PathBuf,
    pub(super) fault: MetadataFault,
    /// In how many more something is.
    pub(super) others: u64,
}

/// Whose objects are: the owner of the store directory.
pub(super) fn owner_of(store: &LocalStore) -> Result<u32> {
    rustix::fs::fstat(store.store_fd())
        .map(|stat| stat.st_uid)
        .map_err(|error| Error::io("examine", &store.layout().real_store, error))
}

/// Looks at the tree `name` in `dir`, which was read before: so it isn't too deep.
pub(super) fn examine(
    dir: BorrowedFd<'_>,
    dir_path: &Path,
    name: &OsStr,
    owner: u32,
) -> Result<Option<FaultyMetadata>> {
    let root = dir_path.join(name);
    let fail = |path: &Path, error: Errno| Error::io("examine", path, error);
    let mut found = None;
    let name = CString::new(name.as_bytes()).map_err(|_| fail(&root, Errno::INVAL))?;
    let mut levels: Vec<Level> = Vec::new();
    let opened = entry(dir, &name, &root, owner, &mut found).map_err(|e| fail(&root, e))?;
    levels.extend(opened);
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.entries.pop() else {
            levels.pop();
            continue;
        };
        let path = level.path.join(OsStr::from_bytes(name.to_bytes()));
        let opened = entry(level.dir.as_fd(), &name, &path, owner, &mut found)
            .map_err(|error| fail(&path, error))?;
        levels.extend(opened);
    }
    Ok(found)
}

struct Level {
    dir: OwnedFd,
    path: PathBuf,
    entries: Vec<CString>,
}

/// Looks at one entry; a directory is given back open.
fn entry(
    dir: BorrowedFd<'_>,
    name: &CStr,
    path: &Path,
    owner: u32,
    found: &mut Option<FaultyMetadata>,
) -> rustix::io::Result<Option<Level>> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let fault = match fault_of(&stat, owner) {
        None => attribute_of(dir, name)?,
        fault => fault,
    };
    match (fault, &mut *found) {
        (None, _) => {}
        (Some(_), Some(found)) => found.others += 1,
        (Some(fault), none) => {
            *none = Some(FaultyMetadata {
                file: path.to_owned(),
                fault,
                others: 0,
            });
        }
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(None);
    }
    let dir = open_directory(dir, name)?;
    let mut entries = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push(entry.file_name().to_owned());
        }
    }
    // They are taken from the end.
    entries.sort_unstable_by(|a, b| b.cmp(a));
    let path = path.to_owned();
    Ok(Some(Level { dir, path, entries }))
}

/// Opens a directory, if possible without a trace in its access time.
fn open_directory(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}

fn fault_of(stat: &Stat, owner: u32) -> Option<MetadataFault> {
    let found = stat.st_mode & 0o7777;
    let expected = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 0o555,
        FileType::RegularFile if found & 0o100 == 0 => 0o444,
        FileType::RegularFile => 0o555,
        _ => found,
    };
    if found != expected {
        return Some(MetadataFault::Mode { found, expected });
    }
    // Nix compat: fractions of a second don't count.
    if stat.st_mtime != 1 {
        let found = stat.st_mtime;
        return Some(MetadataFault::Time { found });
    }
    (stat.st_uid != owner).then_some(MetadataFault::Owner {
        found: stat.st_uid,
        expected: owner,
    })
}

/// An extended attribute that doesn't belong there.
fn attribute_of(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Option<MetadataFault>> {
    let path = [
        format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(),
        name.to_bytes(),
    ]
    .concat();
    let size = match rustix::fs::llistxattr_query(&*path) {
        Ok(0) | Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(None),
        size => size?,
    };
    let mut names = vec![0; size];
    let filled = rustix::fs::llistxattr(&*path, &mut names[..])?;
    names.truncate(filled);
    let foreign = names
        .split(|&byte| byte == 0)
        .find(|name| !name.is_empty() && !IGNORED_ATTRIBUTES.contains(name));
    Ok(foreign.map(|name| MetadataFault::Attribute {
        name: String::from_utf8_lossy(name).into_owned(),
    }))
}
