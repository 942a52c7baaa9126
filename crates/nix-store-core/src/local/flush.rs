//! Flushing a small tree, file by file.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Puts the entry `name` of `parent` and all below it onto stable storage: contents, modes
/// and the names in its directories. The name of the root itself belongs to its parent.
pub(super) fn flush_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    let mut directories: Vec<OwnedFd> = Vec::new();
    flush_entry(parent, &name, &mut directories)?;
    while let Some(directory) = directories.pop() {
        let mut children = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let is_own = matches!(entry.file_name().to_bytes(), b"." | b"..");
            if !is_own && entry.file_type() != FileType::Symlink {
                children.push(entry.file_name().to_owned());
            }
        }
        for child in children {
            flush_entry(directory.as_fd(), &child, &mut directories)?;
        }
    }
    Ok(())
}

fn flush_entry(
    parent: BorrowedFd<'_>,
    name: &CString,
    directories: &mut Vec<OwnedFd>,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        // A symlink has no contents of its own to flush.
        Err(Errno::LOOP) => return Ok(()),
        opened => opened?,
    };
    rustix::fs::fsync(&file)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Directory {
        directories.push(file);
    }
    Ok(())
}
