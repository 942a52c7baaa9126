//! Moving complete trees to their final names, and back.
//!
//! The caller holds the lock of the path, and knows that the path isn't valid.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use nix_base::StorePath;
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::private_dir::{PrivateDir, remove_tree};
use crate::error::{Error, Result};
use crate::local::LocalStore;

/// The store directory, as the place where trees go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shelf<'s> {
    dir: BorrowedFd<'s>,
    real_store: &'s std::path::Path,
}

/// A tree that isn't at its final name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loose<'t> {
    /// The directory that it is in.
    pub(super) dir: BorrowedFd<'t>,
    /// Its name there.
    pub(super) name: &'t OsStr,
    /// Whether it is a directory that its owner can't move without write permission.
    pub(super) needs_chmod: bool,
}

impl<'s> Shelf<'s> {
    pub(super) fn of(store: &'s LocalStore) -> Self {
        Self {
            dir: store.store_fd(),
            real_store: &store.layout().real_store,
        }
    }

    pub(super) fn beside(private: &'s PrivateDir) -> Self {
        Self {
            dir: private.store_fd(),
            real_store: private.path().parent().unwrap_or(private.path()),
        }
    }

    /// Moves `tree`, which its owner can move, to the name of `path`, in place of an
    /// unregistered leftover if there is one.
    pub(super) fn move_in(self, tree: Loose<'_>, path: &StorePath) -> Result<()> {
        let name = path.base_name();
        let rename = || {
            let flags = RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(tree.dir, tree.name, self.dir, &name, flags)
        };
        let moved = match rename() {
            Err(Errno::EXIST) => {
                remove_tree(self.dir, OsStr::new(&name)).map_err(|source| Error::Tree {
                    action: "remove leftover",
                    path: self.real(path),
                    source,
                })?;
                rename()
            }
            // File systems without the flag: the lock makes the look before the move safe.
            Err(Errno::INVAL) => self.move_without_flag(tree, &name),
            moved => moved,
        };
        moved.map_err(|source| Error::io("move into the store", &self.real(path), source))?;
        if tree.needs_chmod {
            self.chmod(&name, 0o555).map_err(|source| {
                self.take_back(tree, path);
                Error::io("make read-only", &self.real(path), source)
            })?;
        }
        Ok(())
    }

    /// Exchanges `tree` for what lies at `path`, if anything does; that goes where `tree`
    /// was.
    pub(super) fn exchange(self, tree: Loose<'_>, path: &StorePath) -> Result<()> {
        let name = path.base_name();
        let failed = |source: Errno| Error::io("replace", &self.real(path), source);
        match rustix::fs::statat(self.dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return self.move_in(tree, path),
            // Whoever isn't root moves only directories that he may change.
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let writable = Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU);
                if !writable && !rustix::process::geteuid().is_root() {
                    self.chmod(&name, 0o755).map_err(failed)?;
                }
            }
            stat => drop(stat.map_err(failed)?),
        }
        let flags = RenameFlags::EXCHANGE;
        match rustix::fs::renameat_with(tree.dir, tree.name, self.dir, &name, flags) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.exchange_in_steps(tree, &name).map_err(failed)?
            }
            exchanged => exchanged.map_err(failed)?,
        }
        if tree.needs_chmod {
            self.chmod(&name, 0o555).map_err(failed)?;
        }
        Ok(())
    }

    /// For file systems that can't do it at once.
    fn exchange_in_steps(self, tree: Loose<'_>, name: &str) -> rustix::io::Result<()> {
        let mut aside = tree.name.to_owned();
        aside.push(".old");
        rustix::fs::renameat(self.dir, name, tree.dir, &aside)?;
        if let Err(error) = rustix::fs::renameat(tree.dir, tree.name, self.dir, name) {
            // Better what was there than nothing.
            let _ = rustix::fs::renameat(tree.dir, &aside, self.dir, name);
            return Err(error);
        }
        rustix::fs::renameat(tree.dir, &aside, tree.dir, tree.name)
    }

    fn move_without_flag(self, tree: Loose<'_>, name: &str) -> rustix::io::Result<()> {
        match rustix::fs::statat(self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                remove_tree(self.dir, OsStr::new(name)).map_err(|_| Errno::EXIST)?;
            }
        }
        rustix::fs::renameat(tree.dir, tree.name, self.dir, name)
    }

    /// Undoes [`Self::move_in`], for a path that did not become valid; where that can't be,
    /// removes the tree.
    pub(super) fn take_back(self, tree: Loose<'_>, path: &StorePath) {
        let back = self.move_back(tree, path).or_else(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "cannot take back");
            remove_tree(self.dir, OsStr::new(&path.base_name())).map_err(|source| Error::Tree {
                action: "remove",
                path: self.real(path),
                source,
            })
        });
        if let Err(error) = back {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "unregistered object stays behind"
            );
        }
    }

    fn move_back(self, tree: Loose<'_>, path: &StorePath) -> Result<()> {
        let name = path.base_name();
        if tree.needs_chmod {
            self.chmod(&name, 0o755)
                .map_err(|source| Error::io("make writable", &self.real(path), source))?;
        }
        rustix::fs::renameat(self.dir, &name, tree.dir, tree.name)
            .map_err(|source| Error::io("take back", &self.real(path), source))
    }

    fn chmod(self, name: &str, mode: u32) -> rustix::io::Result<()> {
        rustix::fs::chmodat(self.dir, name, Mode::from_raw_mode(mode), AtFlags::empty())
    }

    fn real(self, path: &StorePath) -> PathBuf {
        self.real_store.join(path.base_name())
    }
}
