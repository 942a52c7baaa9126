//! What a copy tells while it runs.

use nix_base::StorePath;

/// Receives the progress of a copy, from more than one thread.
pub trait CopyProgress: Sync {
    /// This many objects with this many bytes of NARs will be copied.
    fn started(&self, paths: u64, bytes: u64) {
        let _ = (paths, bytes);
    }

    /// The bytes of `path` begin; there will be `size` of them, 0 where that is unknown.
    fn path_started(&self, path: &StorePath, size: u64) {
        let _ = (path, size);
    }

    /// So many more bytes have gone through.
    fn bytes(&self, count: u64) {
        let _ = count;
    }

    /// The receiver has `path`, or will have it with its next commit.
    fn path_done(&self, path: &StorePath) {
        let _ = path;
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl CopyProgress for NoProgress {}

/// What a copy has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopySummary {
    /// Objects copied.
    pub paths: u64,
    /// Bytes of their NARs.
    pub bytes: u64,
}

/// Collects small counts, so that reporting costs nothing beside the copying.
pub(crate) struct ByteMeter<'p> {
    progress: &'p dyn CopyProgress,
    unreported: u64,
}

impl<'p> ByteMeter<'p> {
    pub(crate) const fn new(progress: &'p dyn CopyProgress) -> Self {
        Self {
            progress,
            unreported: 0,
        }
    }

    pub(crate) fn add(&mut self, count: usize) {
        self.unreported = self.unreported.saturating_add(count as u64);
        if self.unreported >= REPORT_EVERY {
            self.report();
        }
    }

    fn report(&mut self) {
        if self.unreported > 0 {
            self.progress.bytes(self.unreported);
            self.unreported = 0;
        }
    }
}

impl Drop for ByteMeter<'_> {
    fn drop(&mut self) {
        self.report();
    }
}

const REPORT_EVERY: u64 = 64 * 1024;
