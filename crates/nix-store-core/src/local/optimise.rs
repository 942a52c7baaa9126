//! Files with the same contents become one: hard links to a file in `.links`, which is named
//! by the hash of its archive, as every release of Nix does it.
//!
//! ```text
//! file ─ hash ─► .links/HASH   absent     link(file → .links/HASH)            nothing freed
//!                              the same   nothing to do, now and in later runs
//!                              another    link(.links/HASH → private/temp)
//!                                         exchange(private/temp ↔ file), unlink(private/temp)
//! ```
//!
//! **Races.** No lock is taken. A collector may remove a file, a directory or a link at any
//! time, and whoever loses says nothing. The exchange replaces only what is there, so a
//! directory that a collector is emptying never gets a new entry (but where the file system
//! has no exchange: there it is a plain rename). The directory for temporary
//! names is pinned. Inside an object everything is reached by descriptors of its directories,
//! so what becomes of the path meanwhile doesn't matter; an object that is a single file is
//! pinned, and the exchange is undone if it wasn't the file that was hashed.
//!
//! **Power cuts.** A file of a valid path is on stable storage, and it is replaced only by one
//! that is, too: by one that was linked before the run began, when everything was flushed, or
//! that is flushed now. What is on its way into the store gets its names in
//! `.links` when it was flushed.
//!
//! **Damage.** What a link holds is hashed before it takes the place of anything; one that
//! isn't what its name says is removed.

mod hash;
mod linker;
mod passing;
pub(super) mod staged;
mod tree;
mod valid;
mod walk;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use nix_base::StorePath;

use super::LocalStore;
use crate::error::Result;

/// How a store is optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptimiseOptions {
    /// Only find out what would be freed.
    pub dry_run: bool,
    /// How many threads read; by default as many as the machine runs at once, up to 8.
    pub threads: Option<NonZeroUsize>,
}

/// What was done, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OptimiseReport {
    /// Files and symbolic links in valid paths that were looked at.
    pub files: u64,
    /// How many of them were read and hashed: those that weren't links already.
    pub hashed: u64,
    /// The bytes of those.
    pub hashed_bytes: u64,
    /// How many became links to others.
    pub linked: u64,
    /// The sizes of those, in bytes, as Nix counts what it frees.
    pub freed_bytes: u64,
    /// The disk space of those of them that had no other name.
    pub freed_disk_bytes: u64,
    /// How many names were added to `.links`.
    pub new_links: u64,
    /// How many files couldn't become links, since the file system allows no more of them.
    pub full: u64,
    /// How many files couldn't be read.
    pub unreadable: u64,
    /// Files that their owner may write, and that were left alone.
    pub suspicious: Vec<PathBuf>,
    /// Links that weren't what their names said, and were removed.
    pub corrupted_links: Vec<PathBuf>,
    /// The run was broken off.
    pub stopped: bool,
}

/// Whoever watches a run.
pub trait OptimiseProgress: Sync {
    /// A path's turn has come; false breaks the run off.
    fn path(&self, path: &StorePath) -> bool;

    /// A file of a path was looked at.
    fn file(&self) {}

    /// Whether to go on within a path; false breaks the run off.
    fn go_on(&self) -> bool {
        true
    }
}

impl LocalStore {
    /// Replaces files of valid paths that have the same contents by hard links to one.
    ///
    /// # Errors
    /// The store can't be read or written. What was linked until then stays.
    pub fn optimise(
        &self,
        options: &OptimiseOptions,
        progress: &dyn OptimiseProgress,
    ) -> Result<OptimiseReport> {
        if !options.dry_run {
            self.require_writable("optimise the store")?;
        }
        valid::optimise(self, options, progress)
    }
}

#[cfg(test)]
mod tests;
