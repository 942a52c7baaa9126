//! A flush that runs while the next objects arrive.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

/// A flush of a file system under way, in a thread of its own.
#[derive(Debug)]
pub(super) struct BackgroundFlush(JoinHandle<io::Result<()>>);

impl BackgroundFlush {
    /// Begins to put everything on the file system of `dir` onto stable storage, as far as
    /// it was written before.
    pub(super) fn start(dir: OwnedFd) -> io::Result<Self> {
        std::thread::Builder::new()
            .name("flush".into())
            .spawn(move || rustix::fs::syncfs(&dir).map_err(io::Error::from))
            .map(Self)
    }

    /// Whether [`Self::finish`] would not wait.
    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the end; all that was written before the start is on stable storage then.
    pub(super) fn finish(self) -> io::Result<()> {
        self.0
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the flushing thread panicked")))
    }
}
