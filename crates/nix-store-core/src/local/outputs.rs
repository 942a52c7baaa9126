//! Registering what a build made.
//!
//! ```text
//! look      which paths are valid already: those are never touched
//! check     derivations among the outputs
//! flush     contents                                  as the durability asks
//! move      each tree to its final name, read-only
//! flush     names, and what wasn't flushed before
//! register  rows of paths and realisations, in one transaction
//! ```
//!
//! Until the last step has succeeded everything can be taken back, and is after a failure.

mod sharing;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};

use nix_base::{Realisation, Signature, StorePath, StorePathSet, ValidPathInfo};
use nix_drv::Strictness;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::LocalStore;
use super::derivations::{KnownDerivations, read_file};
use super::flush::flush_tree;
use super::moving::{Loose, Shelf};
use super::private_dir::remove_tree;
use super::staging::FLUSHED_ONE_BY_ONE;
use crate::db::{Durability, Registration};
use crate::error::{Error, Result};
use sharing::Sharing;

/// An output that is to become valid: a complete tree with canonical metadata, which nobody
/// else can reach.
#[derive(Debug, Clone)]
pub struct NewOutput<'d> {
    /// The directory that it is in, on the store's file system.
    pub dir: BorrowedFd<'d>,
    /// Its name there.
    pub name: OsString,
    /// Its path, and what is known of it.
    pub info: ValidPathInfo,
}

impl LocalStore {
    /// Removes what lies at the place of `path` without being valid; a valid path is left
    /// alone. The caller holds the path's lock.
    ///
    /// # Errors
    /// Those of the database, and of removing.
    pub fn remove_invalid(&self, path: &StorePath) -> Result<()> {
        self.require_writable("remove leftovers")?;
        if self.is_valid(path)? {
            return Ok(());
        }
        remove_tree(self.store_fd(), OsStr::new(&path.base_name())).map_err(|source| Error::Tree {
            action: "remove leftover",
            path: self.layout().real_path(path),
            source,
        })
    }

    /// Moves the outputs of a build into place and makes them valid, together with
    /// `realisations`, all or none. The caller holds the locks of all their paths.
    ///
    /// Nothing that is valid is replaced: an output whose path is valid already stays where
    /// it is, and counts as built here from now on. That is noted last; after a failure before,
    /// the outputs are back where they were, or gone, and nothing lies at their paths.
    ///
    /// # Errors
    /// A reference that isn't valid, a content address that doesn't give the path, a `.drv`
    /// output that is no proper derivation; failing disk or database.
    pub fn register_outputs(
        &self,
        outputs: &[NewOutput<'_>],
        realisations: &[Realisation],
    ) -> Result<()> {
        self.require_writable("register outputs")?;
        let paths: StorePathSet = outputs.iter().map(|o| o.info.path.clone()).collect();
        self.add_temp_roots(&paths)?;
        let valid = self.db().query_valid(&paths)?;
        let new: Vec<&NewOutput<'_>> = outputs
            .iter()
            .filter(|output| !valid.contains(&output.info.path))
            .collect();
        let batch = self.registrations(&new)?;
        let sharing = Sharing::begin(self, &new)?;
        let durable = self.config().durability != Durability::None;
        let flushed = durable && self.flush_small(&new)?;
        let mut moved = Vec::with_capacity(new.len());
        let result = self.publish(&new, &mut moved).and_then(|()| {
            if durable && !new.is_empty() {
                self.flush_names(flushed)?;
            }
            self.db().register_with_realisations(&batch, realisations)
        });
        if result.is_ok() {
            sharing.publish();
        } else {
            for (tree, path) in moved {
                Shelf::of(self).take_back(tree, path);
            }
            return result;
        }
        // Nix compat: it becomes ultimate, however it got here.
        outputs
            .iter()
            .map(|output| &output.info)
            .filter(|info| info.ultimate && valid.contains(&info.path))
            .try_for_each(|info| self.mark_built(&info.path, &info.sigs))
    }

    /// Notes that the valid `path` was built here, and adds `sigs` to its signatures.
    ///
    /// # Errors
    /// `path` isn't valid; those of the database.
    pub fn mark_built(&self, path: &StorePath, sigs: &BTreeSet<Signature>) -> Result<()> {
        self.require_writable("mark paths as built")?;
        self.db().mark_built(path, sigs)
    }

    /// Stores `realisations`, whose paths are valid.
    ///
    /// # Errors
    /// A path isn't valid; those of the database.
    pub fn register_realisations(&self, realisations: &[Realisation]) -> Result<()> {
        self.require_writable("register realisations")?;
        self.db().register_realisations(realisations)
    }

    /// What to register, with derivations checked and their outputs filled in.
    fn registrations(&self, new: &[&NewOutput<'_>]) -> Result<Vec<Registration>> {
        let infos = new.iter().map(|output| output.info.clone());
        let mut batch: Vec<_> = infos.map(Registration::from).collect();
        let read = |path: &StorePath| {
            let found = new.iter().find(|output| output.info.path == *path);
            let output = found.ok_or_else(|| Error::not_valid(self.store_dir(), path))?;
            read_file(output.dir, &output.name, &self.layout().real_path(path))
        };
        KnownDerivations::default().check(self, &mut batch, Strictness::Strict, read)?;
        Ok(batch)
    }

    fn publish<'o>(
        &self,
        new: &[&'o NewOutput<'_>],
        moved: &mut Vec<(Loose<'o>, &'o StorePath)>,
    ) -> Result<()> {
        for output in new {
            let path = &output.info.path;
            let tree = self.loosen(output)?;
            Shelf::of(self).move_in(tree, path)?;
            moved.push((tree, path));
        }
        Ok(())
    }

    /// Makes an output movable for its owner.
    fn loosen<'o>(&self, output: &'o NewOutput<'_>) -> Result<Loose<'o>> {
        let real = || self.layout().real_path(&output.info.path);
        let stat = rustix::fs::statat(output.dir, &output.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| Error::io("examine output for", &real(), source))?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let needs_chmod = is_directory && !rustix::process::geteuid().is_root();
        if needs_chmod {
            let mode = Mode::from_raw_mode(0o755);
            rustix::fs::chmodat(output.dir, &output.name, mode, AtFlags::empty())
                .map_err(|source| Error::io("make writable output for", &real(), source))?;
        }
        Ok(Loose {
            dir: output.dir,
            name: &output.name,
            needs_chmod,
        })
    }

    /// Puts the outputs onto stable storage file by file, if they are few enough for that
    /// to be cheaper than a flush of the whole file system. Tells whether it did.
    fn flush_small(&self, new: &[&NewOutput<'_>]) -> Result<bool> {
        let failed = |output: &NewOutput<'_>, source: std::io::Error| {
            Error::io(
                "flush output for",
                &self.layout().real_path(&output.info.path),
                source,
            )
        };
        let mut room = FLUSHED_ONE_BY_ONE;
        for output in new {
            let size = small_size(output.dir, &output.name)
                .map_err(|source| failed(output, source.into()))?;
            match size.and_then(|size| room.checked_sub(size)) {
                Some(left) => room = left,
                None => return Ok(false),
            }
        }
        for output in new {
            flush_tree(output.dir, &output.name).map_err(|source| failed(output, source))?;
        }
        Ok(true)
    }

    /// Puts the names of moved trees onto stable storage; unless they are `flushed`, also
    /// everything in them: one flush of the file system serves all.
    pub(super) fn flush_names(&self, flushed: bool) -> Result<()> {
        let done = if flushed {
            rustix::fs::fsync(self.store_fd())
        } else {
            rustix::fs::syncfs(self.store_fd())
        };
        let store = &self.layout().real_store;
        done.map_err(|source| Error::io("flush the file system of", store, source))
    }
}

/// How many entries a tree has; `None` if it has directories in it, or many entries.
fn small_size(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Option<u64>> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(Some(1));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let mut size = 1;
    for entry in Dir::read_from(dir.as_fd())? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        size += 1;
        if size > FLUSHED_ONE_BY_ONE || entry.file_type() == FileType::Directory {
            return Ok(None);
        }
    }
    Ok(Some(size))
}

#[cfg(test)]
mod tests;
