//! Bugs that the model can be given, one at a time, to see that it finds them.

/// A bug put back into the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The collector looks whether a path is pinned when it decides, not again at each deletion.
    CollectorChecksOnlyTheStart,
    /// A client announces a root to the collector before it records it.
    RootRecordedAfterAnnouncing,
    /// A lock counts as held although its file was removed meanwhile.
    LockTakenWithoutStalenessCheck,
    /// The row that makes a path valid is removed after its files.
    RowRemovedLast,
    /// A path becomes valid before its contents are on disk.
    RowCommittedBeforeFlush,
    /// What lies at a path is cleaned away without asking, under its lock, whether it is valid.
    CleaningWithoutValidityCheck,
}
