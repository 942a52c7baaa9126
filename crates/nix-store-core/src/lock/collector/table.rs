//! The temporary roots that a collector knows, and the paths that it is deleting.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix_base::StorePathHash;
use rustix::event::EventfdFlags;

/// Shared by the collector's threads and the one that listens.
#[derive(Debug)]
pub(in crate::lock) struct Table {
    state: Mutex<State>,
    /// Readable when something changed that the listener waits for.
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    roots: HashSet<StorePathHash>,
    pending: HashSet<StorePathHash>,
    /// More roots than there is room for were announced: everything counts as one.
    is_full: bool,
    /// Somebody announced a path that is being deleted.
    is_awaited: bool,
    is_closed: bool,
}

impl Table {
    pub(in crate::lock) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            state: Mutex::default(),
            bell: rustix::event::eventfd(0, flags)?,
        })
    }

    /// Adds a root that somebody announced. False if the path is being deleted: then the answer
    /// has to wait until [`Self::is_pending`] says no.
    pub(in crate::lock) fn announce(&self, hash: StorePathHash) -> bool {
        let mut state = self.lock();
        if state.roots.len() >= MOST_ROOTS {
            state.is_full = true;
        } else {
            state.roots.insert(hash);
        }
        let is_pending = state.pending.contains(&hash);
        state.is_awaited |= is_pending;
        !is_pending
    }

    /// Adds roots that were read.
    pub(super) fn add(&self, hashes: impl IntoIterator<Item = StorePathHash>) {
        self.lock().roots.extend(hashes);
    }

    pub(in crate::lock) fn is_pending(&self, hash: &StorePathHash) -> bool {
        self.lock().pending.contains(hash)
    }

    /// Whether somebody has announced a path that is being deleted, since there was none.
    pub(super) fn is_awaited(&self) -> bool {
        self.lock().is_awaited
    }

    pub(super) fn is_root(&self, hash: &StorePathHash) -> bool {
        self.lock().is_root(hash)
    }

    pub(super) fn roots(&self) -> HashSet<StorePathHash> {
        self.lock().roots.clone()
    }

    /// Publishes a path as being deleted unless it is a root, in one step.
    pub(super) fn begin(&self, hash: &StorePathHash) -> bool {
        let mut state = self.lock();
        if state.pending.is_empty() {
            state.is_awaited = false;
        }
        !state.is_root(hash) && state.pending.insert(*hash)
    }

    pub(super) fn end(&self, hash: &StorePathHash) {
        let mut state = self.lock();
        state.pending.remove(hash);
        let is_awaited = state.is_full || state.roots.contains(hash);
        drop(state);
        if is_awaited {
            self.ring();
        }
    }

    /// Asks the listener to end.
    pub(in crate::lock) fn close(&self) {
        self.lock().is_closed = true;
        self.ring();
    }

    pub(in crate::lock) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    pub(in crate::lock) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Makes the bell ready to be rung again.
    pub(in crate::lock) fn hush(&self) {
        // That it hasn't been rung is fine.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    fn ring(&self) {
        // It fails when it has been rung 2^64 times, and then it is readable all the same.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can stop halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_root(&self, hash: &StorePathHash) -> bool {
        self.is_full || self.roots.contains(hash)
    }
}

/// Anybody may announce roots; what they take of memory has an end.
const MOST_ROOTS: usize = 1 << 22;
