//! What lies in the store directory.

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix_base::{StorePath, StorePathHash};
use rustix::fs::{Mode, OFlags, RawDir};

use crate::db::StoreGraph;
use crate::error::{Error, Result};

/// An entry of the store directory that isn't registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leftover {
    /// Its name.
    pub(super) name: CString,
    /// Its name as a path, if it is like one.
    pub(super) path: Option<StorePath>,
    /// The hash that its name begins with: temporary roots with this hash keep it.
    pub(super) hash: Option<StorePathHash>,
}

/// The entries of the store directory that `graph` doesn't know.
pub(super) fn leftovers(
    store: BorrowedFd<'_>,
    real_store: &Path,
    graph: &StoreGraph,
) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    each_name(store, real_store, |name| {
        if name.to_bytes() != b".links" && graph.find_base_name(name.to_bytes()).is_none() {
            found.push(Leftover::of(name));
        }
    })?;
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Calls `each` with every name in a directory but `.` and `..`.
pub(super) fn each_name(
    dir: BorrowedFd<'_>,
    path: &Path,
    mut each: impl FnMut(&std::ffi::CStr),
) -> Result<()> {
    let failed = |error| Error::io("read directory", path, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // A descriptor of its own: others may be reading the one that was given.
    let dir = rustix::fs::openat(dir, c".", flags, Mode::empty()).map_err(failed)?;
    let mut buffer = Vec::with_capacity(DIRENTS);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(failed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            each(entry.file_name());
        }
    }
    Ok(())
}

impl Leftover {
    /// The entry called `name`.
    pub(super) fn of(name: &std::ffi::CStr) -> Self {
        let bytes = name.to_bytes();
        let path = StorePath::from_base_name_bytes(bytes).ok();
        // A lock beside a path with a long name is no path any more, but belongs to it.
        let hash = match (bytes.get(..HASH), bytes.get(HASH)) {
            (Some(digits), Some(b'-' | b'.')) => StorePathHash::from_digits(digits),
            _ => None,
        };
        Self {
            name: name.to_owned(),
            path,
            hash,
        }
    }

    /// Whether it is a directory that its maker may hold locked.
    pub(super) fn may_be_locked(&self) -> bool {
        self.name.to_bytes().starts_with(b"tmp-")
    }

    /// The name for messages.
    pub(super) fn text(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }
}

/// How many digits the hash of a path has.
const HASH: usize = nix_base::store_path::HASH_DIGITS;
/// Room for directory entries from one system call.
const DIRENTS: usize = 256 * 1024;
