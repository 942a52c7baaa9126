//! What the one who builds sees.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

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
    cancel: Cancel,
}

impl OwnedBuild {
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
        io::Write::write_all(&mut &self.log, bytes)
    }

    /// The whole log so far, from its start, with a position of its own.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn read_log(&self) -> io::Result<File> {
        File::open(&self.log_path)
    }

    /// Where the log is while the build runs.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Tells everybody how far the build is.
    pub fn set_phase(&self, phase: Phase) {
        let _ = phase;
    }

    /// Tells everybody the place in the queue for slots.
    pub fn set_place(&self, place: usize) {
        let _ = place;
    }
}
