//! What a collection did, and what it says meanwhile.

use std::time::Duration;

use nix_base::StorePath;

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The live or dead paths that were asked for, or those that were deleted, ascending.
    pub paths: Vec<StorePath>,
    /// Names in the store directory that aren't names of store paths, and were or would be
    /// deleted.
    pub leftovers: Vec<String>,
    /// How many entries of the store directory were or would be deleted, leftovers included.
    pub deleted: u64,
    /// What was or would be freed.
    pub freed: Freed,
    /// How many dead paths stay, by the policy or since enough was freed.
    pub kept_dead: u64,
    /// Dead paths that were spared since somebody began to use them meanwhile.
    pub spared: u64,
    /// What couldn't be deleted, with the reasons. It isn't valid any more.
    pub failures: Vec<String>,
    /// What hard links save now, in bytes; known after unused links were deleted.
    pub saved_by_links: Option<u64>,
    /// Whether it ended early since enough was freed.
    pub reached_limit: bool,
    /// Whether it was told to stop.
    pub cancelled: bool,
    /// The first of the paths to be deleted that is alive. Neither it nor those behind it
    /// were deleted.
    pub still_alive: Option<StorePath>,
    /// How long things took.
    pub times: GcTimes,
}

/// Room that was made. A file with several names counts once, and only if all its names go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Bytes on disk.
    pub on_disk: u64,
    /// The lengths of the files, which is how Nix counts.
    pub lengths: u64,
}

impl std::ops::AddAssign for Freed {
    fn add_assign(&mut self, other: Self) {
        self.on_disk = self.on_disk.saturating_add(other.on_disk);
        self.lengths = self.lengths.saturating_add(other.lengths);
    }
}

/// How long the parts of a collection took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcTimes {
    /// Getting the locks.
    pub locking: Duration,
    /// Finding roots.
    pub roots: Duration,
    /// Reading the database and finding out what is dead.
    pub marking: Duration,
    /// Deleting.
    pub deleting: Duration,
    /// The longest time for which anybody could have been kept waiting for a path.
    pub longest_hold: Duration,
}

/// Hears what a collection does. All methods have empty bodies to begin with.
pub trait GcProgress {
    /// Something begins.
    fn phase(&mut self, _phase: GcPhase) {}

    /// An entry of the store directory, by its full logical path, is being deleted, or just was.
    fn deleting(&mut self, _path: &str) {}

    /// How much is done: entries of `total`, and what was freed by now.
    fn progress(&mut self, _deleted: u64, _total: u64, _freed: Freed) {}

    /// Whether to stop. What is being deleted is deleted first.
    fn is_cancelled(&mut self) -> bool {
        false
    }
}

/// Says nothing.
impl GcProgress for () {}

/// What a collection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcPhase {
    /// Looks for roots.
    FindingRoots,
    /// Tells live from dead, to report it.
    Determining,
    /// Deletes.
    Deleting,
    /// Deletes names in `.links` that nothing else uses.
    DeletingLinks,
    /// Has freed enough: more than this many bytes, if there is such a limit.
    Stopping(Option<u64>),
}
