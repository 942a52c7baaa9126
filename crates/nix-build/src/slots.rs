//! Build slots: how many builds run at once on a machine.
//!
//! All processes of a store share them, so they are files with locks in
//! `STATE/nix-serve/slots`, and whatever happens to a process, its slots are free again.
//!
//! ```text
//! gate              flock, held for a few system calls by whoever looks or changes
//! slot-<n>          flock: somebody builds
//! ticket-<n>        flock: somebody waits; the lowest is next, a free one is dead and goes
//!                   once it is the lowest
//! ```
//!
//! A slot is taken under the gate, if no ticket of a living waiter is before one's own and
//! fewer than `max_jobs` slots are held, whoever holds them. So where processes with
//! different bounds meet, each bound holds at the moment at which its owner begins to build;
//! the one with the larger bound may add builds later. The queue is strict: who waits for a
//! small bound lets nobody overtake.
//!
//! Lock order: gate, then slots and tickets, which are only ever tried.

mod lock_file;
mod queue;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use lock_file::{LockDirectory, LockError};
use queue::{Attempt, Ticket};

use crate::cancel::Cancel;

/// The slots of a machine.
#[derive(Debug)]
pub struct Slots {
    dir: LockDirectory,
    max_jobs: u32,
}

/// The right to build, until it is dropped or the process ends.
#[derive(Debug)]
#[must_use]
pub struct Slot {
    _lock: File,
}

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotsError {
    /// This machine builds nothing.
    #[error("this machine builds nothing, as 'max-jobs' is 0")]
    None,
    /// The build was cancelled while it waited.
    #[error("interrupted while waiting for a build slot")]
    Cancelled,
    /// A file of the queue can't be used.
    #[error("cannot {action} '{path}'")]
    Io {
        /// What was done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Slots {
    /// The slots of the store whose state is in `state_dir`.
    ///
    /// # Errors
    /// The directory for them can't be made.
    pub fn new(state_dir: &Path, max_jobs: u32) -> Result<Self, SlotsError> {
        let dir = LockDirectory::create(state_dir, "slots")?;
        Ok(Self { dir, max_jobs })
    }

    /// Waits for a slot. `on_wait` is told the place in the queue, from 1 on, and again
    /// whenever it changes; it isn't called if a slot is free.
    ///
    /// # Errors
    /// The build was cancelled, there are no slots at all, or the files can't be used.
    pub fn acquire(
        &self,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(usize),
    ) -> Result<Slot, SlotsError> {
        if self.max_jobs == 0 {
            return Err(SlotsError::None);
        }
        let mut ticket: Option<Ticket<'_>> = None;
        let mut told = 0;
        loop {
            let gate = self.dir.gate(&|| cancel.is_cancelled())?;
            let gate = gate.ok_or(SlotsError::Cancelled)?;
            let attempt = queue::attempt(&self.dir, self.max_jobs, &mut ticket)?;
            drop(gate);
            let place = match attempt {
                Attempt::Taken(lock) => return Ok(Slot { _lock: lock }),
                Attempt::Wait { place } => place,
            };
            if place != told {
                told = place;
                on_wait(place);
            }
            pause(cancel, pause_at(place))?;
        }
    }
}

/// The nearer to the front, the more often is looked for a free slot.
fn pause_at(place: usize) -> Duration {
    Duration::from_millis(match place {
        1 => 5,
        2..=4 => 15,
        5..=20 => 50,
        _ => 200,
    })
}

/// Waits for `time`, or fails once the build is cancelled.
fn pause(cancel: &Cancel, time: Duration) -> Result<(), SlotsError> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut fds = [PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN)];
    // An interrupted wait is a shorter one.
    let _ = poll(&mut fds, Some(&timeout));
    match cancel.is_cancelled() {
        true => Err(SlotsError::Cancelled),
        false => Ok(()),
    }
}

impl From<LockError> for SlotsError {
    fn from(error: LockError) -> Self {
        Self::Io {
            action: error.action,
            path: error.path,
            source: error.source,
        }
    }
}
