//! Bugs that the model can be given, one at a time, to see that it finds them.

/// A bug put back into the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The collector looks for roots when it comes to the first of the dead paths, and not again
    /// for each of the others.
    CollectorChecksOnlyTheFirst,
    /// The collector asks whether the path itself is a root, and not whether another refers to it.
    CollectorIgnoresReferrers,
    /// The collector doesn't say which path it is deleting.
    PendingNotPublished,
    /// A client announces a root first and records it when it has the answer.
    RootRecordedAfterAnnouncing,
    /// A client takes the lock of a path without looking whether the lock file is still there.
    LockTakenWithoutStalenessCheck,
    /// A client takes the lock of its file of roots without looking whether it is still there.
    RootsFileTakenWithoutStalenessCheck,
    /// A client lets go of a lock and removes the lock file after that.
    LockFileRemovedLast,
    /// The collector removes files first, and last the row that makes them valid.
    RowRemovedLast,
    /// A path becomes valid before its contents are on disk.
    RowCommittedBeforeFlush,
    /// What lies at a path is cleaned away though nobody asked, under its lock, whether it is
    /// valid.
    CleaningWithoutValidityCheck,
    /// Clients take the locks of a batch in different orders.
    LocksUnordered,
    /// A client asks which paths are valid before it pins them.
    QueryBeforePin,
    /// A client makes a link and ends, and doesn't announce the path again.
    LinkNotAnnounced,
}
