//! What a collection is to do.

use nix_base::StorePathSet;

/// What a collection is to do, and how far it may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcOptions {
    /// What happens to what is found.
    pub action: GcAction,
    /// A live derivation keeps its valid outputs.
    pub keep_outputs: bool,
    /// A live path keeps the derivation it was built from.
    pub keep_derivations: bool,
    /// Stop once more than this many bytes were freed. With 0, nothing is deleted.
    pub max_freed: Option<u64>,
    /// Which of the dead paths go, and in which order.
    pub policy: GcPolicy,
    /// Find out what would be deleted, and what that would free, but delete nothing.
    pub dry_run: bool,
}

impl GcOptions {
    /// A collection with Nix's defaults that does `action`.
    #[must_use]
    pub fn new(action: GcAction) -> Self {
        Self {
            action,
            keep_outputs: false,
            keep_derivations: true,
            max_freed: None,
            policy: GcPolicy::default(),
            dry_run: false,
        }
    }
}

/// What a collection does with what it finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GcAction {
    /// Deletes what nothing keeps.
    DeleteDead,
    /// Names what is kept.
    ReturnLive,
    /// Names what could be deleted.
    ReturnDead,
    /// Deletes these, if nothing but each other keeps them.
    DeleteSpecific {
        /// What to delete.
        paths: StorePathSet,
        /// Whether all roots but temporary ones count for nothing.
        ignore_liveness: bool,
    },
}

/// Which of the dead paths go. What isn't registered goes in any case.
///
/// A path is as recently used as the most recent of its dead referrers, which would have to
/// go before it. The last use of one alone is the later one of its registration and the
/// last access to its topmost file or directory. File systems mounted with `relatime`, the
/// default, note an access about once a day, those with `noatime` never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPolicy {
    /// Only what wasn't used since this time, in seconds since 1970.
    pub unused_since: Option<i64>,
    /// Keep the most recently used, as long as all dead paths together take at most this
    /// many bytes.
    pub keep_bytes: Option<u64>,
    /// Stop when the file system has this many bytes to spare.
    pub free_bytes: Option<u64>,
    /// Least recently used first, also where neither of the others asks for it.
    pub least_recently_used_first: bool,
}

impl GcPolicy {
    /// Whether the times of last use have to be known.
    #[must_use]
    pub fn needs_last_use(&self) -> bool {
        self.unused_since.is_some()
            || self.keep_bytes.is_some()
            || self.free_bytes.is_some()
            || self.least_recently_used_first
    }
}

/// When a store collects garbage by itself: before something is added or built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoGc {
    /// Collect when the file system has fewer bytes to spare.
    pub min_free: u64,
    /// Stop collecting when it has this many; `None` for no end.
    pub max_free: Option<u64>,
    /// How long to wait between two looks at the file system.
    pub check_interval: std::time::Duration,
    /// As [`GcOptions::keep_outputs`].
    pub keep_outputs: bool,
    /// As [`GcOptions::keep_derivations`].
    pub keep_derivations: bool,
}
