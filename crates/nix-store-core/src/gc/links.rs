//! `.links`: names of files that objects share. Those that no object uses any more go.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::entries::each_name;
use super::meter::{is_directory, look, open_unnoticed, size};
use super::report::Freed;
use crate::error::{Error, Result};

/// What became of the links.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Links {
    /// What those that went took.
    pub(super) freed: Freed,
    /// Bytes that the others save: those of each file, for each object but one that has it.
    pub(super) saved: u64,
}

/// Removes the names in `.links` that are the only ones of their files.
///
/// A process that optimises may just be about to use one: it finds it gone, and makes a new
/// one.
pub(super) fn remove_unused(store: BorrowedFd<'_>, path: &Path) -> Result<Links> {
    let dir = match open_unnoticed(store, c".links") {
        Err(Errno::NOENT) => return Ok(Links::default()),
        dir => dir.map_err(|error| Error::io("open directory", path, error))?,
    };
    let mut links = Links::default();
    let mut failed = None;
    each_name(dir.as_fd(), path, |name| {
        if failed.is_none()
            && let Err(error) = visit(dir.as_fd(), name, &mut links)
        {
            let path = path.join(&*name.to_string_lossy());
            failed = Some(Error::io("remove", &path, error));
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(links),
    }
}

fn visit(dir: BorrowedFd<'_>, name: &CStr, links: &mut Links) -> rustix::io::Result<()> {
    let stat = match look(dir, name) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat?,
    };
    if is_directory(&stat) {
        return Ok(());
    }
    if stat.stx_nlink != 1 {
        let shares = u64::from(stat.stx_nlink.saturating_sub(2));
        links.saved = links
            .saved
            .saturating_add(stat.stx_size.saturating_mul(shares));
        return Ok(());
    }
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => links.freed += size(&stat),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
