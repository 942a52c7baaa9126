//! A directory in the store that only this process can reach, on the same file system as
//! the objects, and that no collector touches.
//!
//! It is named like a store path, `<32 random digits>-tmp-<pid>`, and pinned as a temporary
//! root before it is made. So every release's collector spares it while this process lives,
//! and removes it after a crash.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix_base::{StorePath, StorePathHash, StorePathName};
use nix_nar::fs::remove;
use rustix::fs::{Mode, OFlags};

use super::LocalStore;
use crate::error::{Error, Result};

/// A directory in the store that nobody else can enter; removed with all it holds when
/// dropped.
///
/// The pin belongs to the store: drop the directory before it.
#[derive(Debug)]
pub struct PrivateDir {
    store: OwnedFd,
    dir: OwnedFd,
    name: String,
    path: PathBuf,
}

impl LocalStore {
    /// Makes a directory with mode 0700 in the store, for trees that are on their way into
    /// it.
    ///
    /// # Errors
    /// The store is read-only, the pin can't be recorded, or the directory can't be made.
    pub fn private_dir(&self) -> Result<PrivateDir> {
        let path = random_path()?;
        let name = path.base_name();
        let real = self.layout().real_store.join(&name);
        self.add_temp_root(&path)?;
        let store = rustix::io::fcntl_dupfd_cloexec(self.store_fd(), 0).map_err(|source| {
            Error::io("use store directory", &self.layout().real_store, source)
        })?;
        rustix::fs::mkdirat(&store, &name, Mode::RWXU)
            .map_err(|source| Error::io("create directory", &real, source))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&store, &name, flags, Mode::empty())
            .map_err(|source| Error::io("open directory", &real, source))?;
        Ok(PrivateDir {
            store,
            dir,
            name,
            path: real,
        })
    }
}

impl PrivateDir {
    /// The directory itself.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Where it is, for messages and for mounts.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store directory that it is in.
    pub(crate) fn store_fd(&self) -> BorrowedFd<'_> {
        self.store.as_fd()
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(self.store.as_fd(), OsStr::new(&self.name)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "private directory stays behind"
            );
        }
    }
}

/// Removes a tree; that it is gone already is fine.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> nix_nar::Result<()> {
    match remove::remove_tree(parent, name) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn random_path() -> Result<StorePath> {
    let mut digest = [0; 20];
    getrandom::fill(&mut digest).map_err(|error| {
        Error::io(
            "read random bytes from",
            "the kernel".as_ref(),
            std::io::Error::from(error),
        )
    })?;
    let name = format!("tmp-{}", std::process::id());
    let name = StorePathName::new(&name).expect("'tmp-' and digits make a valid name");
    Ok(StorePath::new(StorePathHash::from_digest(digest), name))
}
