//! What the one who builds sees.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::status::{Progress, Status};
use super::wake::Wake;
use crate::cancel::Cancel;

/// How far a build is. Limits of time count while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for locks, a slot, a user, or is prepared.
    Waiting,
    /// The builder runs.
    Running,
    /// The builder has ended; outputs are looked at.
    Finishing,
}

/// A build that this process does, for all who watch it.
#[derive(Debug)]
pub struct OwnedBuild {
    log: File,
    log_path: PathBuf,
    status: Status,
    progress: Mutex<Progress>,
    cancel: Cancel,
    wake: Arc<Wake>,
}

impl OwnedBuild {
    /// `log` and `status` are new files.
    pub(super) fn new(
        log: File,
        log_path: PathBuf,
        status: Status,
        cancel: Cancel,
        wake: Arc<Wake>,
    ) -> Self {
        let progress = Progress {
            phase: Phase::Waiting,
            since: now(),
            place: 0,
        };
        Self {
            log,
            log_path,
            status,
            progress: Mutex::new(progress),
            cancel,
            wake,
        }
    }

    /// On once nobody wants the build any more.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Adds what the builder wrote to the log.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn append_log(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.log).write_all(bytes)?;
        self.wake.ring();
        Ok(())
    }

    /// The whole log so far, from its start, with a position of its own.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn read_log(&self) -> io::Result<File> {
        use std::os::fd::AsRawFd;
        // Nobody may be left who watches, and then the file has no name any more.
        File::open(format!("/proc/self/fd/{}", self.log.as_raw_fd()))
    }

    /// Where the log is while somebody wants the build.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Tells everybody how far the build is.
    pub fn set_phase(&self, phase: Phase) {
        self.update(|progress| {
            progress.phase = phase;
            progress.since = now();
            progress.place = 0;
        });
    }

    /// Tells everybody the place in the queue for slots, from 1 on; 0 once it is over.
    pub fn set_place(&self, place: usize) {
        self.update(|progress| progress.place = place as u64);
    }

    /// Wakes whoever looks after the clients.
    pub(super) fn ring(&self) {
        self.wake.ring();
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut progress);
        // It is for display and limits only; a full disk shows elsewhere.
        let _ = self.status.write_progress(*progress);
        drop(progress);
        self.wake.ring();
    }
}

/// Nanoseconds of the monotonic clock, which all processes of the machine share.
pub(super) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
