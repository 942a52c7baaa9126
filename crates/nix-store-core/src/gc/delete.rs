//! Deleting what is dead, while others go on using the store.
//!
//! ```text
//! for each few paths:  begin      spared if somebody made it a root; else whoever does so now
//!                                 has to wait
//!                      database   one transaction; spared if a valid path refers to it now;
//!                                 ends where it is as soon as somebody waits
//!                      take away  a move or an unlink for each, first for those who wait,
//!                                 who then go on
//!                      remove     in another thread
//! ```
//!
//! The row goes first, and is on stable storage before the files are touched: what a kill or
//! a power cut leaves behind is unregistered, and goes with the next collection. A path that
//! is spared spares what it refers to; that always comes later in the order.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix_base::StorePath;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::entries::Leftover;
use super::mark::Marks;
use super::plan::{Plan, entry_name};
use super::remover::{Moved, Remover};
use super::report::{GcProgress, GcReport};
use crate::db::StoreGraph;
use crate::error::Result;
use crate::local::LocalStore;
use crate::lock::{CollectorLocks, Pending};

/// All that deleting takes.
pub(super) struct Deletion<'a, 's> {
    pub(super) store: &'s LocalStore,
    pub(super) locks: &'a CollectorLocks,
    pub(super) graph: &'a StoreGraph,
    pub(super) marks: &'a mut Marks,
    pub(super) remover: &'a mut Remover<'s>,
    pub(super) progress: &'a mut dyn GcProgress,
    pub(super) report: &'a mut GcReport,
    /// How many entries there are to delete.
    pub(super) total: u64,
}

/// A path that nobody can make a root until it is gone.
struct Chosen<'o> {
    place: u32,
    /// What was left to do before it was chosen.
    order: &'o [u32],
    _pending: Pending,
}

impl Deletion<'_, '_> {
    /// Deletes what is planned, as long as it is still dead.
    pub(super) fn run(&mut self, plan: Plan) -> Result<()> {
        for leftover in plan.leftovers {
            if self.is_over() {
                return Ok(());
            }
            self.delete_leftover(leftover)?;
        }
        let mut order = plan.order.as_slice();
        let mut size = FIRST_BATCH;
        while !order.is_empty() && !self.is_over() {
            let written = self.delete_batch(&mut order, size)?;
            size = next_size(size, written);
        }
        Ok(())
    }

    fn is_over(&mut self) -> bool {
        if self.progress.is_cancelled() {
            self.report.cancelled = true;
        }
        self.report.cancelled || self.remover.failures() >= MOST_FAILURES
    }

    /// Deletes the first few paths of `order`; tells for how long others could not write to
    /// the database.
    fn delete_batch(&mut self, order: &mut &[u32], size: usize) -> Result<Duration> {
        let began = Instant::now();
        let mut batch = self.choose(order, size);
        let ids: Vec<i64> = batch.iter().map(|c| self.graph.row_id(c.place)).collect();
        let goes_on = || !self.locks.is_awaited();
        let gone = self.store.db().invalidate_rows(&ids, goes_on)?;
        let written = began.elapsed();
        if let Some(next) = batch.get(gone.len()) {
            *order = next.order;
            batch.truncate(gone.len());
        }
        let mut left: VecDeque<_> = batch.into_iter().zip(gone).collect();
        let mut moved = Vec::new();
        let mut taken = 0_u32;
        let reported = self.report.paths.len();
        while let Some((chosen, is_gone)) = left.pop_front() {
            moved.extend(self.take_away(chosen, is_gone));
            taken += 1;
            if taken.is_multiple_of(LOOKS) && self.locks.is_awaited() {
                let is_awaited =
                    |chosen: &Chosen<'_>| self.locks.is_temp_root(self.path(chosen).hash());
                // The sort is stable: all others stay in their order.
                left.make_contiguous()
                    .sort_by_key(|(chosen, _)| !is_awaited(chosen));
            }
        }
        let held = began.elapsed();
        self.report.times.longest_hold = self.report.times.longest_hold.max(held);
        // However slowly somebody reads this, nobody waits for a path any more.
        for path in &self.report.paths[reported..] {
            self.progress.deleting(&self.store.store_dir().print(path));
        }
        for moved in moved {
            self.remover.dispose(moved);
        }
        self.tell();
        Ok(written)
    }

    /// Takes a path out of the store whose row is gone, and answers those who wait for it.
    fn take_away(&mut self, chosen: Chosen<'_>, is_gone: bool) -> Option<Moved> {
        if !is_gone {
            // Real Nix ends with an error.
            self.spare(chosen.place);
            return None;
        }
        let path = self.path(&chosen).clone();
        let moved = self.remover.take(&entry_name(self.graph, chosen.place));
        self.report.paths.push(path);
        self.report.deleted += 1;
        moved
    }

    fn path(&self, chosen: &Chosen<'_>) -> &StorePath {
        self.graph.path(chosen.place)
    }

    /// Takes the first `size` paths of `order` that are dead still; whoever makes one a root
    /// has to wait from now on.
    fn choose<'o>(&mut self, order: &mut &'o [u32], size: usize) -> Vec<Chosen<'o>> {
        let mut batch = Vec::with_capacity(size.min(order.len()));
        while batch.len() < size
            && let Some((&place, rest)) = order.split_first()
        {
            if !self.marks.is_alive(place) {
                let hash = self.graph.path(place).hash();
                match self.locks.begin(hash) {
                    Some(pending) => batch.push(Chosen {
                        place,
                        order,
                        _pending: pending,
                    }),
                    None if self.locks.is_temp_root(hash) => self.spare(place),
                    // Another one in the batch has the same hash.
                    None => break,
                }
            }
            *order = rest;
        }
        batch
    }

    /// Somebody uses the path at `place` by now.
    fn spare(&mut self, place: u32) {
        self.report.spared += 1;
        self.marks.mark(self.graph, place);
    }

    fn delete_leftover(&mut self, leftover: Leftover) -> Result<()> {
        let began = Instant::now();
        let pending = match &leftover.hash {
            Some(hash) => match self.locks.begin(hash) {
                Some(pending) => Some(pending),
                None => {
                    self.report.spared += 1;
                    return Ok(());
                }
            },
            None => None,
        };
        // Some programs register what they have not pinned.
        if let Some(path) = &leftover.path
            && self.store.db().is_valid(path)?
        {
            self.report.spared += 1;
            return Ok(());
        }
        let lock = match self.lock(&leftover) {
            Ok(lock) => lock,
            Err(Held) => return Ok(()),
        };
        let name = leftover.text();
        let moved = self.remover.take(&leftover.name);
        drop((lock, pending));
        self.progress
            .deleting(&format!("{}/{name}", self.store.store_dir()));
        self.report.times.longest_hold = self.report.times.longest_hold.max(began.elapsed());
        if let Some(moved) = moved {
            self.remover.dispose(moved);
        }
        match leftover.path {
            Some(path) => self.report.paths.push(path),
            None => self.report.leftovers.push(name),
        }
        self.report.deleted += 1;
        self.tell();
        Ok(())
    }

    /// Locks a temporary directory, as the one who uses it does.
    fn lock(&self, leftover: &Leftover) -> Result<Option<OwnedFd>, Held> {
        if !leftover.may_be_locked() {
            return Ok(None);
        }
        let open = |name: &CStr| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(self.store.store_fd(), name, flags, Mode::empty())
        };
        let dir = match open(&leftover.name) {
            Ok(dir) => dir,
            // Nobody has locked what isn't a directory, and what we may not open isn't ours to
            // remove.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(None),
            Err(_) => return Err(Held),
        };
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Held),
            _ => Ok(Some(dir)),
        }
    }

    fn tell(&mut self) {
        let freed = self.remover.freed();
        self.progress
            .progress(self.report.deleted, self.total, freed);
    }
}

/// Somebody uses a temporary directory.
struct Held;

/// How many paths to choose after `size` of them kept writers away for `written`.
fn next_size(size: usize, written: Duration) -> usize {
    let most = size.saturating_mul(FASTEST_GROWTH);
    let right = u128::try_from(size).unwrap_or(u128::MAX) * TRANSACTION.as_micros()
        / written.as_micros().max(1);
    usize::try_from(right)
        .unwrap_or(most)
        .clamp(size / 2, most)
        .clamp(1, LARGEST_BATCH)
}

/// Large transactions write much less than many small ones: most of them change most pages.
/// When somebody waits for one of their paths they end early; those who only want to write
/// wait for the end of the transaction.
const FIRST_BATCH: usize = 64;
const LARGEST_BATCH: usize = 1 << 15;
const FASTEST_GROWTH: usize = 8;
const TRANSACTION: Duration = Duration::from_millis(300);
/// After so many paths it is looked whether somebody waits.
const LOOKS: u32 = 128;
/// After so many entries that can't be removed, no more are tried.
const MOST_FAILURES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_to_what_keeps_writers_away_for_as_long_as_it_may() {
        let ms = Duration::from_millis;
        assert_eq!(next_size(64, ms(1)), 64 * FASTEST_GROWTH);
        assert_eq!(next_size(64, Duration::ZERO), 64 * FASTEST_GROWTH);
        assert_eq!(next_size(1000, ms(100)), 3000);
        assert_eq!(next_size(1000, TRANSACTION), 1000);
        assert_eq!(next_size(1000, ms(400)), 750);
        assert_eq!(next_size(1000, ms(60_000)), 500);
        assert_eq!(next_size(1, ms(60_000)), 1);
        assert_eq!(next_size(LARGEST_BATCH, ms(1)), LARGEST_BATCH);
    }
}
