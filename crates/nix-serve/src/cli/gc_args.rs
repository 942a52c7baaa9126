//! What the command line says of collections.

use std::path::PathBuf;
use std::time::Duration;

/// Arguments of collecting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GcArgs {
    /// What to do.
    pub(crate) mode: GcMode,
    /// Stop after so many bytes.
    pub(crate) max_freed: Option<u64>,
    /// Only what wasn't used for so long.
    pub(crate) older_than: Option<Duration>,
    /// Keep so many bytes of what could be deleted.
    pub(crate) keep_bytes: Option<u64>,
    /// Stop when so many bytes are free.
    pub(crate) free_bytes: Option<u64>,
    /// Say what would be deleted, and delete nothing.
    pub(crate) dry_run: bool,
    /// Print the result as JSON.
    pub(crate) json: bool,
}

/// What a collection does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GcMode {
    /// Deletes what is dead.
    Delete,
    /// Prints the roots.
    PrintRoots,
    /// Prints what is alive.
    PrintLive,
    /// Prints what is dead.
    PrintDead,
    /// Deletes these paths.
    Paths {
        /// Which paths.
        paths: Vec<PathBuf>,
        /// Even if roots need them.
        ignore_liveness: bool,
    },
}

impl GcArgs {
    /// Does `mode`, without limits.
    pub(crate) fn new(mode: GcMode) -> Self {
        Self {
            mode,
            max_freed: None,
            older_than: None,
            keep_bytes: None,
            free_bytes: None,
            dry_run: false,
            json: false,
        }
    }
}
