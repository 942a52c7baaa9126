//! Where objects are unpacked before they get their final name: a private directory in the
//! store, on the same file system, that no collector touches.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::BufRead;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use nix_base::{NarHash, NarHashSink, StorePath};
use nix_nar::NarReader;
use nix_nar::fs::restore::{Flush, Metadata, RestoreOptions, restore_nar, restore_watched};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::LocalStore;
use super::background_flush::BackgroundFlush;
use super::moving::{Loose, Shelf};
use super::optimise::staged::{Deduplicator, NewLinks, Place};
use super::private_dir::{PrivateDir, remove_tree};
use crate::db::Durability;
use crate::error::{Error, Result};

/// A private directory in the store; removed with all it holds when dropped.
#[derive(Debug)]
pub(crate) struct StagingDir {
    private: PrivateDir,
    next: Cell<u64>,
    options: RestoreOptions,
    /// Finds duplicates, if that is wanted.
    deduplicator: Option<Deduplicator>,
    /// `.links`.
    links: PathBuf,
}

/// An object in a [`StagingDir`], complete and with canonical metadata.
#[derive(Debug)]
pub(crate) struct StagedTree {
    /// Its name in the staging directory.
    name: String,
    /// SHA-256 of the NAR it was unpacked from.
    pub(crate) nar_hash: NarHash,
    /// Length of that NAR in bytes.
    pub(crate) nar_size: u64,
    needs_chmod: bool,
    /// How many files, directories and links it consists of.
    entries: u64,
    /// Names for `.links`, once it is valid.
    new_links: NewLinks,
}

impl StagingDir {
    /// Makes a staging directory for `store`.
    pub(crate) fn create(store: &LocalStore) -> Result<Self> {
        let deduplicator = store.config().auto_optimise.then(Deduplicator::default);
        Ok(Self {
            deduplicator,
            ..Self::create_unshared(store)?
        })
    }

    /// Makes one whose files become links to no others, however the store is opened.
    pub(crate) fn create_unshared(store: &LocalStore) -> Result<Self> {
        let private = store.private_dir()?;
        let mut options = RestoreOptions::default();
        options.metadata = Metadata::Canonical;
        options.root_writable = !rustix::process::geteuid().is_root();
        if store.config().durability != Durability::None {
            options.flush = Flush::StartWriteback;
        }
        Ok(Self {
            private,
            next: Cell::new(0),
            options,
            deduplicator: None,
            links: store.layout().links_dir(),
        })
    }

    /// Unpacks one NAR of at most `limit` bytes.
    ///
    /// On failure nothing of it stays.
    pub(crate) fn unpack<R: BufRead>(
        &self,
        nar: R,
        limit: Option<u64>,
    ) -> nix_nar::Result<StagedTree> {
        let name = self.next.replace(self.next.get() + 1).to_string();
        let mut reader = NarReader::forwarding(nar, NarHashSink::new());
        if let Some(limit) = limit {
            reader = reader.with_limit(limit);
        }
        let (dir, os_name) = (self.private.fd(), OsStr::new(&name));
        let deduplicator = self.deduplicator.as_ref();
        let mut watch = deduplicator.and_then(|d| d.watch(self.place()));
        let unpacked = match &mut watch {
            Some(watch) => restore_watched(&mut reader, dir, os_name, &self.options, watch),
            None => restore_nar(&mut reader, dir, os_name, &self.options),
        };
        let stats = match unpacked {
            Ok(stats) => stats,
            Err(source) => {
                // The first error is the one to report; a leftover goes with the directory.
                let _ = remove_tree(self.private.fd(), OsStr::new(&name));
                if let (Some(deduplicator), Some(watch)) = (deduplicator, watch) {
                    deduplicator.forget(&deduplicator.finish(watch));
                }
                return Err(source);
            }
        };
        let (_, sink) = reader.into_parts();
        let (nar_hash, nar_size) = sink.finish();
        debug_assert_eq!(nar_size, stats.nar_size);
        let new_links = match (deduplicator, watch) {
            // The hash of a single file is that of its archive.
            (Some(deduplicator), _) if stats.directories == 0 => {
                let path = self.private.path().join(&name);
                deduplicator.join(self.place(), (dir, os_name), &path, nar_hash)
            }
            (Some(deduplicator), Some(watch)) => deduplicator.finish(watch),
            _ => NewLinks::default(),
        };
        Ok(StagedTree {
            name,
            nar_hash,
            nar_size,
            needs_chmod: stats.directories > 0 && self.options.root_writable,
            entries: stats.files + stats.directories + stats.symlinks,
            new_links,
        })
    }

    /// Lets others link to the files of `tree`, which is valid now.
    pub(crate) fn publish_links(&self, tree: &StagedTree) {
        if let Some(deduplicator) = &self.deduplicator {
            deduplicator.publish(self.place(), &tree.new_links);
        }
    }

    fn place(&self) -> Place<'_> {
        Place {
            private: self.private.fd(),
            path: self.private.path(),
            links: &self.links,
        }
    }

    /// The directory and name under which `tree` lies.
    pub(crate) fn location<'a>(&'a self, tree: &'a StagedTree) -> (BorrowedFd<'a>, &'a OsStr) {
        (self.private.fd(), OsStr::new(&tree.name))
    }

    /// Moves `tree` to its final name, in place of an unregistered leftover if there is one.
    ///
    /// The caller holds the path's lock and knows that the path is not valid.
    pub(crate) fn move_into_store(&self, tree: &StagedTree, path: &StorePath) -> Result<()> {
        Shelf::beside(&self.private).move_in(self.loose(tree), path)
    }

    /// Puts `tree` in the place of whatever lies at `path`, which goes where `tree` was.
    ///
    /// The caller holds the path's lock.
    pub(crate) fn exchange_in_store(&self, tree: &StagedTree, path: &StorePath) -> Result<()> {
        Shelf::beside(&self.private).exchange(self.loose(tree), path)
    }

    /// Undoes [`Self::move_into_store`], for a path that did not become valid. Where that
    /// can't be, the tree is removed.
    ///
    /// The caller holds the path's lock.
    pub(crate) fn take_back(&self, tree: &StagedTree, path: &StorePath) {
        Shelf::beside(&self.private).take_back(self.loose(tree), path);
    }

    fn loose<'t>(&'t self, tree: &'t StagedTree) -> Loose<'t> {
        Loose {
            dir: self.private.fd(),
            name: OsStr::new(&tree.name),
            needs_chmod: tree.needs_chmod,
        }
    }

    /// Drops a tree that isn't needed.
    pub(crate) fn discard(&self, tree: &StagedTree) {
        if let Some(deduplicator) = &self.deduplicator {
            deduplicator.forget(&tree.new_links);
        }
        if let Err(error) = remove_tree(self.private.fd(), OsStr::new(&tree.name)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "staged object stays behind"
            );
        }
    }

    /// Puts the content of `trees` onto stable storage, if they are few enough for a flush
    /// of each file to be cheaper than one of the whole file system, which would wait for
    /// what everybody else has written as well. Tells whether it did.
    pub(crate) fn flush_contents<'t>(
        &self,
        trees: impl Iterator<Item = &'t StagedTree> + Clone,
    ) -> Result<bool> {
        if trees.clone().map(|tree| tree.entries).sum::<u64>() > FLUSHED_ONE_BY_ONE {
            return Ok(false);
        }
        for tree in trees {
            super::flush::flush_tree(self.private.fd(), OsStr::new(&tree.name)).map_err(
                |source| Error::io("flush", &self.private.path().join(&tree.name), source),
            )?;
        }
        Ok(true)
    }

    /// Begins to put everything staged so far onto stable storage, in the background.
    pub(crate) fn start_flush(&self) -> Result<BackgroundFlush> {
        rustix::io::fcntl_dupfd_cloexec(self.private.fd(), 0)
            .map_err(std::io::Error::from)
            .and_then(BackgroundFlush::start)
            .map_err(|source| self.flush_failed(source))
    }

    /// Waits for a flush in the background.
    pub(crate) fn finish_flush(&self, flush: BackgroundFlush) -> Result<()> {
        flush.finish().map_err(|source| self.flush_failed(source))
    }

    fn flush_failed(&self, source: impl Into<std::io::Error>) -> Error {
        Error::io("flush the file system of", self.private.path(), source)
    }

    /// Puts the names of moved trees onto stable storage; with `contents`, also everything
    /// in them: one flush of the file system serves a whole batch.
    pub(crate) fn flush_names(&self, contents: bool) -> Result<()> {
        let flushed = if contents {
            rustix::fs::syncfs(self.private.fd())
        } else {
            rustix::fs::fsync(self.private.store_fd())
        };
        flushed.map_err(|source| self.flush_failed(source))
    }

    /// Reads a staged `.drv` file whole.
    pub(crate) fn read_derivation(&self, tree: &StagedTree) -> Result<Vec<u8>> {
        super::derivations::read_file(
            self.private.fd(),
            OsStr::new(&tree.name),
            &self.private.path().join(&tree.name),
        )
    }

    /// Opens a staged regular, non-executable file; `None` if it isn't one.
    pub(crate) fn open_file(&self, tree: &StagedTree) -> Result<Option<std::fs::File>> {
        let real = || self.private.path().join(&tree.name);
        let stat = rustix::fs::statat(self.private.fd(), &tree.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| Error::io("examine", &real(), source))?;
        let executable = stat.st_mode & 0o100 != 0;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || executable {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.private.fd(), &tree.name, flags, Mode::empty())
            .map_err(|source| Error::io("open", &real(), source))?;
        Ok(Some(fd.into()))
    }
}

/// Most files that are flushed one by one.
pub(super) const FLUSHED_ONE_BY_ONE: u64 = 2;
