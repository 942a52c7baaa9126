//! Temporary roots: paths that no collector may delete while this process works with them.
//!
//! Every process has a file in `STATE/temproots` with the paths that it uses. What Nix up to 2.4
//! and Nix since 2.5 do with these files doesn't fit together; the scheme here is safe beside both
//! (`docs/formats/locks.md`):
//!
//! ```text
//! create:  open(temproots/<pid>-<random>, O_EXCL, 0600); flock(LOCK_SH), kept for life
//! add:     1. write(file, path NUL …)
//!          2. flock(gc.lock, LOCK_SH|LOCK_NB)
//!             got it: unlock, done
//!             busy:   connect to gc-socket/socket, send "path LF", await '1': done
//!                     nobody listens, or hangs up before the answer: 2. again
//! end:     unlink(file), close
//! ```
//!
//! # Why a path is safe once `add` returns
//!
//! A collector takes `gc.lock` exclusively, then (since 2.5) listens on the socket, then reads all
//! files of `temproots`, then deletes, then lets go of `gc.lock`. Let *w* be the moment at which
//! step 1 is complete, and consider any collector and its moment *c* of taking `gc.lock`.
//!
//! * *c* after *w*: the collector reads the file after *c*, so it finds the record. The file counts
//!   as live, because the collector's exclusive attempt on it fails while we hold the shared lock.
//! * *c* before *w*: it may have read the file too early, so `add` must not return before this
//!   collector ended or has heard of the path.
//!   * If step 2 gets the lock at a moment *s* > *w*: every collector with *c* < *s* has ended by
//!     *s*, since it held the lock exclusively from *c* to its end.
//!   * If an answer comes, it comes from a collector that listens, thus from the one that holds
//!     `gc.lock`; there is only one at a time. That one spares the path from now on. Those before
//!     it have ended, those after it have *c* after *w*.
//!   * If the connection breaks, nothing is concluded, and step 2 is done again. An answered path
//!     needs no second announcement: the collector that answered either still runs, or it ended and
//!     later ones have *c* after *w*.
//!
//! Were the path announced first and written afterwards, then the collector that answered could
//! end, and another one start and read the file, before the write: the root would be lost. Were the
//! shared lock of the file not held before step 1, a collector could take the file for a dead
//! process's and remove it; so a file that was marked or unlinked before the lock was had is given
//! up for a new one. Such a file has no records yet.
//!
//! A collector without a socket (up to 2.4) either holds `gc.lock`, and step 2 waits for its end,
//! or lets go of it early, when everything that it will delete has been moved out of the store.
//! Its own shared lock on our file never waits for ours.
//!
//! After `add`, a path that a collector was busy with may be gone: ask whether it is valid *after*
//! adding it, never before.

mod file;
mod scan;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{LockError, Result};
use super::gc_lock::GcLockFile;
use super::gc_socket::GcSocket;
use file::RootsFile;
pub use scan::{TempRoot, TempRootsScan};

/// The temporary roots of one store instance; dropping it gives them up and removes the file.
#[derive(Debug)]
pub struct TempRoots {
    state_dir: PathBuf,
    /// The logical store directory with a slash behind it.
    prefix: String,
    gc_lock: Option<GcLockFile>,
    file: Option<RootsFile>,
    /// Base names of what is recorded and safe.
    pinned: HashSet<Box<str>>,
}

impl TempRoots {
    /// No roots yet, for the store with state directory `state_dir` and logical store directory
    /// `store_dir` (`/nix/store`). Nothing is opened before the first [`add`](Self::add).
    pub fn new(state_dir: &Path, store_dir: &str) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            prefix: format!("{store_dir}/"),
            gc_lock: None,
            file: None,
            pinned: HashSet::new(),
        }
    }

    /// Pins full (logical) store paths, valid or not, until this value is dropped. When it returns,
    /// no collector deletes any of them any more; but one may just have done so.
    ///
    /// One write and one look at the collector lock serve the whole batch. Beside a running
    /// collector this waits for its answer, or for its end if it can't be spoken to.
    ///
    /// # Errors
    /// [`LockError::NotInStore`] before anything is recorded; else a failed file or socket
    /// operation. Paths of a failed batch may or may not be pinned; add them again.
    pub fn add<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let fresh = self.fresh(paths)?;
        if fresh.is_empty() {
            return Ok(());
        }
        // Lock order: the record first, then the collector lock (see the module's proof).
        match &mut self.file {
            Some(file) => file.append(&fresh)?,
            none => none
                .insert(RootsFile::create(&self.state_dir)?)
                .append(&fresh)?,
        }
        self.await_collector(&fresh)?;
        let cut = self.prefix.len();
        self.pinned
            .extend(fresh.iter().map(|path| Box::from(&path[cut..])));
        Ok(())
    }

    /// Tells a running collector once more of paths that were added, or waits for its end.
    ///
    /// For whoever has made a permanent root of them and is about to end. Real Nix reads the
    /// permanent roots first and these files last; a collector that looks at the former before
    /// and at the latter after would see neither.
    ///
    /// # Errors
    /// The collector lock or the socket can't be used.
    pub fn announce_again<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let paths: Vec<&str> = paths
            .into_iter()
            .filter(|path| self.contains(path))
            .collect();
        self.await_collector(&paths)
    }

    /// True if `path` (full) was added.
    pub fn contains(&self, path: &str) -> bool {
        path.strip_prefix(&self.prefix)
            .is_some_and(|name| self.pinned.contains(name))
    }

    /// How many paths are pinned.
    pub fn len(&self) -> usize {
        self.pinned.len()
    }

    /// True if no path is pinned.
    pub fn is_empty(&self) -> bool {
        self.pinned.is_empty()
    }

    /// The file with the records, once there is one.
    pub fn file_path(&self) -> Option<&Path> {
        self.file.as_ref().map(RootsFile::path)
    }

    /// Those of `paths` that aren't pinned yet, each once.
    fn fresh<'a>(&self, paths: impl IntoIterator<Item = &'a str>) -> Result<Vec<&'a str>> {
        let mut fresh = Vec::new();
        for path in paths {
            let name = path
                .strip_prefix(&self.prefix)
                .filter(|name| is_base_name(name))
                .ok_or_else(|| LockError::NotInStore {
                    path: path.to_owned(),
                    store_dir: self.prefix.trim_end_matches('/').to_owned(),
                })?;
            if !self.pinned.contains(name) {
                fresh.push(path);
            }
        }
        fresh.sort_unstable();
        fresh.dedup();
        Ok(fresh)
    }

    /// Returns when no collector runs that could have missed the records of `paths`.
    fn await_collector(&mut self, paths: &[&str]) -> Result<()> {
        let gc_lock = match &mut self.gc_lock {
            Some(gc_lock) => gc_lock,
            none => none.insert(GcLockFile::open(&self.state_dir)?),
        };
        let mut unheard = paths;
        let mut said = false;
        while !gc_lock.is_free()? {
            let answered = match GcSocket::connect(&self.state_dir)? {
                Some(mut socket) => socket.announce(unheard)?,
                None => 0,
            };
            unheard = &unheard[answered..];
            if unheard.is_empty() {
                break;
            }
            if answered == 0 {
                if !std::mem::replace(&mut said, true) {
                    tracing::info!("waiting for a garbage collector to end or to listen");
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}

/// True for the base name of a store path. A record that isn't one makes every collector fail.
fn is_base_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (Some(hash), Some(b'-'), Some(rest)) = (bytes.get(..32), bytes.get(32), bytes.get(33..))
    else {
        return false;
    };
    let digit = |byte: &u8| b"0123456789abcdfghijklmnpqrsvwxyz".contains(byte);
    let name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte);
    hash.iter().all(digit)
        && (1..=MAX_NAME).contains(&rest.len())
        && rest[0] != b'.'
        && rest.iter().all(name_byte)
}

/// The longest name that a store path may have behind its hash, in bytes.
const MAX_NAME: usize = 211;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
