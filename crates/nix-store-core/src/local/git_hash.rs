//! Git object ids of trees on disk, for content addresses by Git's hash.
//!
//! A file is a blob (`blob <size>\0<contents>`), a symlink a blob of its target, a directory
//! a tree of `<mode> <name>\0<raw id>` entries, sorted as if directory names ended in `/`.

use std::ffi::{CString, OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix_base::{Hash, HashAlgo, Hasher};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::error::{Error, Result};

/// Deepest nesting, as for NARs.
const MAX_DEPTH: usize = 64;

/// The object id of the entry `name` of `parent`: of a blob for files and links, of a tree
/// for directories.
///
/// # Errors
/// Another type of object, nesting as no archive can have it, failing system calls.
pub fn git_object_id(parent: BorrowedFd<'_>, name: &OsStr, algo: HashAlgo) -> Result<Hash> {
    Ok(hash_entry(parent, name, algo, 0)?.id)
}

struct Entry {
    mode: &'static str,
    name: OsString,
    id: Hash,
}

impl Entry {
    fn sort_key(&self) -> Vec<u8> {
        let mut key = self.name.as_bytes().to_vec();
        if self.mode == "40000" {
            key.push(b'/');
        }
        key
    }
}

fn hash_entry(parent: BorrowedFd<'_>, name: &OsStr, algo: HashAlgo, depth: usize) -> Result<Entry> {
    let fail = |action, source: rustix::io::Errno| Error::io(action, Path::new(name), source);
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| fail("examine", e))?;
    let entry = |mode, id| Entry {
        mode,
        name: name.to_owned(),
        id,
    };
    let open = |flags| {
        rustix::fs::openat(
            parent,
            name,
            flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let file = open(OFlags::RDONLY).map_err(|e| fail("open", e))?;
            let mode = if stat.st_mode & 0o100 != 0 {
                "100755"
            } else {
                "100644"
            };
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            Ok(entry(mode, hash_blob(file, size, name, algo)?))
        }
        FileType::Symlink => {
            let target: CString = rustix::fs::readlinkat(parent, name, Vec::new())
                .map_err(|e| fail("read link", e))?;
            let mut hasher = header("blob", target.as_bytes().len() as u64, algo);
            hasher.update(target.as_bytes());
            Ok(entry("120000", hasher.finish()))
        }
        FileType::Directory if depth < MAX_DEPTH => {
            let dir = open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| fail("open", e))?;
            Ok(entry("40000", hash_tree(&dir, name, algo, depth)?))
        }
        _ => Err(fail("hash", rustix::io::Errno::INVAL)),
    }
}

fn hash_blob(file: OwnedFd, size: u64, name: &OsStr, algo: HashAlgo) -> Result<Hash> {
    let mut hasher = header("blob", size, algo);
    let mut file = std::fs::File::from(file);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|source| Error::io("read", Path::new(name), source))?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..read]);
    }
}

fn hash_tree(dir: &OwnedFd, name: &OsStr, algo: HashAlgo, depth: usize) -> Result<Hash> {
    let list = || -> rustix::io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    };
    let names = list().map_err(|source| Error::io("list", Path::new(name), source))?;
    let mut entries = Vec::with_capacity(names.len());
    for child in names {
        entries.push(hash_entry(dir.as_fd(), &child, algo, depth + 1)?);
    }
    entries.sort_by_key(Entry::sort_key);
    let mut body = Vec::new();
    for entry in &entries {
        body.extend_from_slice(entry.mode.as_bytes());
        body.push(b' ');
        body.extend_from_slice(entry.name.as_bytes());
        body.push(0);
        body.extend_from_slice(entry.id.as_bytes());
    }
    let mut hasher = header("tree", body.len() as u64, algo);
    hasher.update(&body);
    Ok(hasher.finish())
}

fn header(kind: &str, size: u64, algo: HashAlgo) -> Hasher {
    let mut hasher = Hasher::new(algo);
    hasher.update(format!("{kind} {size}\0").as_bytes());
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_git() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("hello"), "hello\n").unwrap();
        let parent = std::fs::File::open(temp.path()).unwrap();
        let id = |name: &str, dir: &std::fs::File| {
            let hash = git_object_id(dir.as_fd(), OsStr::new(name), HashAlgo::Sha1).unwrap();
            hash.render(nix_base::HashFormat::Base16)
        };
        let inside = std::fs::File::open(&root).unwrap();
        // git hash-object of "hello\n", and git write-tree of a directory with it.
        assert_eq!(
            id("hello", &inside),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
        assert_eq!(
            id("root", &parent),
            "b4d01e9b0c4a9356736dfddf8830ba9a54f5271c"
        );
    }
}
