//! Trees that aren't in the store yet.
//!
//! Only this process reaches them, and they aren't on stable storage. So a file is replaced by
//! a link from `.links`, but gets no name there: that goes into a directory beside the trees,
//! where other files in this process's hands find it, and from there into `.links` once the
//! tree was flushed and its path is valid.

use std::cell::{Cell, OnceCell};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix_base::{NarHash, StorePath};
use rustix::fs::{AtFlags, Mode, OFlags, linkat, unlinkat};
use rustix::io::Errno;

use super::OptimiseProgress;
use super::hash::link_name;
use super::linker::{Action, Linker, Memory, Survives};
use super::passing::Watch;
use super::tree::Dir;
use super::walk::{Owner, Tree, Walk};
use crate::error::{Error, Result};

/// Finds files in new trees whose contents the store has.
#[derive(Debug, Default)]
pub(crate) struct Deduplicator {
    memory: Memory,
    shelf: OnceCell<OwnedFd>,
    /// This can't be done here.
    is_off: Cell<bool>,
}

/// Names that are to be added to `.links`.
#[derive(Debug, Default)]
pub(crate) struct NewLinks(Vec<NarHash>);

/// Where new trees are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'p> {
    /// A directory that only this process reaches.
    pub(crate) private: BorrowedFd<'p>,
    /// Its path.
    pub(crate) path: &'p Path,
    /// `.links`.
    pub(crate) links: &'p Path,
}

impl Deduplicator {
    /// Sees to the files of a tree in directories while it is unpacked; then comes
    /// [`Self::finish`].
    pub(crate) fn watch<'w>(&'w self, place: Place<'w>) -> Option<Watch<'w>> {
        if self.is_off.get() {
            return None;
        }
        let linker = self.linker(place);
        linker
            .map_err(|error| self.give_up(&error))
            .ok()
            .map(Watch::new)
    }

    /// The tree is unpacked.
    pub(crate) fn finish(&self, watch: Watch<'_>) -> NewLinks {
        let new = watch.finish();
        self.memory.tidy();
        new.map(NewLinks).unwrap_or_else(|error| {
            self.give_up(&error);
            NewLinks::default()
        })
    }

    /// Replaces files of a tree, a name in a directory, by links. In messages it is `path`;
    /// `hash` is that of the whole tree, and of use if it is a single file.
    ///
    /// What fails is only said: the tree is complete at any time.
    pub(crate) fn join(
        &self,
        place: Place<'_>,
        tree: (BorrowedFd<'_>, &OsStr),
        path: &Path,
        hash: NarHash,
    ) -> NewLinks {
        if self.is_off.get() {
            return NewLinks::default();
        }
        self.try_join(place, tree, path, hash)
            .unwrap_or_else(|error| {
                self.give_up(&error);
                NewLinks::default()
            })
    }

    fn give_up(&self, error: &Error) {
        self.is_off.set(true);
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "new paths aren't optimised"
        );
    }

    fn linker<'w>(&'w self, place: Place<'w>) -> Result<Linker<'w>> {
        Linker::new(
            Action::Link(place.private),
            place.links.to_owned(),
            Some(self.shelf(place)?),
            // Whatever the tree consists of is flushed before it becomes valid.
            Survives::Anyway,
            &self.memory,
        )
    }

    fn try_join(
        &self,
        place: Place<'_>,
        tree: (BorrowedFd<'_>, &OsStr),
        path: &Path,
        hash: NarHash,
    ) -> Result<NewLinks> {
        let linker = self.linker(place)?;
        let (dir, name) = tree;
        let name = CString::new(name.as_bytes()).unwrap_or_default();
        let tree = match Dir::open_root(dir, &name, path.to_owned()) {
            Ok(dir) => Tree::Directory(dir),
            Err(Errno::NOTDIR | Errno::LOOP) => Tree::File(name, Some(hash)),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        let trees = (dir, path.parent().unwrap_or(path));
        let report = Walk::new(&linker, trees, Owner::Process, &Silent).run_alone(tree)?;
        tracing::debug!(
            linked = report.linked,
            freed = report.freed_bytes,
            "optimised"
        );
        self.memory.tidy();
        Ok(NewLinks(linker.take_new()))
    }

    fn shelf(&self, place: Place<'_>) -> Result<BorrowedFd<'_>> {
        if let Some(shelf) = self.shelf.get() {
            return Ok(shelf.as_fd());
        }
        let failed = |error| Error::io("make directory", &place.path.join(SHELF), error);
        rustix::fs::mkdirat(place.private, SHELF, Mode::RWXU).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let shelf =
            rustix::fs::openat(place.private, SHELF, flags, Mode::empty()).map_err(failed)?;
        Ok(self.shelf.get_or_init(|| shelf).as_fd())
    }

    /// Drops the names: the tree that they came from is gone, and they would keep its contents.
    pub(crate) fn forget(&self, new: &NewLinks) {
        let Some(shelf) = self.shelf.get() else {
            return;
        };
        for hash in &new.0 {
            // What stays goes with the shelf.
            let _ = unlinkat(shelf, link_name(hash), AtFlags::empty());
        }
    }

    /// Adds the names to `.links`: the tree that they came from is flushed, and valid.
    pub(crate) fn publish(&self, place: Place<'_>, new: &NewLinks) {
        if let Some(shelf) = self.shelf.get()
            && !new.0.is_empty()
            && let Err(error) = publish(shelf, place.links, &new.0)
        {
            // Nothing is lost but a chance.
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "some files can't be linked to"
            );
        }
    }
}

fn publish(shelf: &OwnedFd, links: &Path, new: &[NarHash]) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let links = rustix::fs::open(links, flags, Mode::empty())?;
    for hash in new {
        let name = link_name(hash);
        let linked = linkat(shelf, &name, &links, &name, AtFlags::empty());
        // From now on it is found there.
        let removed = unlinkat(shelf, &name, AtFlags::empty());
        match linked.and(removed) {
            Ok(()) | Err(Errno::EXIST | Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Silent;

impl OptimiseProgress for Silent {
    fn path(&self, _: &StorePath) -> bool {
        true
    }
}

/// Where names for `.links` wait, in the private directory.
const SHELF: &str = "links";
