//! What there is: disk, processes, and how much may still happen.

/// Paths as bits. Path `n` refers to path `n - 1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Paths(pub u8);

/// Everything that processes share, and where each of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What is on disk.
    pub disk: Disk,
    /// The clients: servers and copies that import paths and use them.
    pub clients: [Client; CLIENTS],
    /// The collector that has the collector lock.
    pub collector: Collector,
    /// What may still happen.
    pub left: Left,
}

/// The store and its state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Disk {
    /// Valid paths: those with a row.
    pub rows: Paths,
    /// Paths whose files are complete.
    pub whole: Paths,
    /// Paths of which a part is there.
    pub torn: Paths,
    /// Those of `whole` that a power cut spares.
    pub flushed: Paths,
    /// Paths with a lock file.
    pub lock_files: Paths,
    /// Paths that a link in `gcroots` leads to.
    pub links: Paths,
    /// Those of them whose maker was told that the link is there.
    pub promised: Paths,
}

/// A client, or nobody yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Client {
    /// Its next step.
    pub at: At,
    /// What it is there for.
    pub task: Task,
    /// Its file in `temproots`.
    pub file: RootsFile,
    /// The records in that file.
    pub records: Paths,
    /// Whether the running collector is done with that file, or found that there is none.
    pub read: bool,
    /// Roots that no collector was told of yet.
    pub unheard: Paths,
    /// Lock files that it has open, as they lie in the store.
    pub open: Paths,
    /// Lock files that it has open and that lie in the store no more.
    pub stale: Paths,
    /// Those of both that it has locked.
    pub held: Paths,
    /// What it has to put in place.
    pub todo: Paths,
    /// What it has put in place and not made valid yet.
    pub moved: Paths,
    /// What it made valid, or saw to be valid, and relies on.
    pub relied: Paths,
    /// What made it give up.
    pub failed: bool,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Task {
    /// Import paths 0 and 1 in one batch.
    #[default]
    ImportBoth,
    /// Import path 2, whose reference is somebody else's business.
    ImportTop,
    /// Ask, with lock, whether path 2 is valid; use it, or make a permanent root of it.
    UseTop,
}

/// The next step of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum At {
    /// It has not begun.
    #[default]
    Fresh,
    /// It ended or died.
    Gone,
    /// Create the file for its roots.
    CreateFile,
    /// Lock that file.
    LockFile,
    /// Write its roots into it.
    Record,
    /// See whether a collector runs, and send it a root.
    Ask,
    /// Await the collector's answer.
    Answer,
    /// Ask which paths are valid.
    Query,
    /// Open the next lock file.
    OpenLock,
    /// Lock it.
    TakeLock,
    /// Ask again, under the locks, which paths are valid.
    Recheck,
    /// Remove what lies where the next path will be.
    Clean,
    /// Rename the next path into place.
    Move,
    /// Flush contents and names.
    Flush,
    /// Commit the rows.
    Register,
    /// Take back what was moved.
    Withdraw,
    /// Let go of the next lock.
    Release,
    /// Remove the lock file of a lock that it has let go of already: a fault.
    LateUnlink,
    /// Work with the paths; then, or at once, end.
    Use,
    /// Make the link that keeps the path for good.
    Link,
    /// As `Ask`, for the path that the link leads to.
    AskAgain,
    /// As `Answer`, there.
    AnswerAgain,
}

/// A file in `temproots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RootsFile {
    /// There is none.
    #[default]
    None,
    /// Created, and not locked yet.
    Young,
    /// Locked by its owner.
    Owned,
    /// Taken for a dead process's and removed, while its owner has it open.
    Removed,
}

/// The one collector that has the collector lock, if any has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Collector {
    /// Its next step.
    pub at: CollectorAt,
    /// The roots that it knows of.
    pub roots: Paths,
    /// What it decided to delete and has not come to yet.
    pub dead: Paths,
    /// The batch that it is deleting.
    pub pending: Paths,
    /// Whether it checked the roots for all of `dead`: a fault.
    pub decided: bool,
}

/// The next step of the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum CollectorAt {
    /// No collector runs.
    #[default]
    Off,
    /// Listen on the socket.
    Listen,
    /// Read the files in `temproots`, one by one.
    ReadFiles,
    /// Read the links in `gcroots`.
    ReadLinks,
    /// Read all rows and names, and mark what is alive.
    Mark,
    /// Begin with the next dead path.
    Begin,
    /// Remove the rows of the batch.
    RemoveRows,
    /// Remove files and lock file of the next path of the batch.
    RemoveFiles,
    /// Close the socket.
    StopListening,
    /// Let go of the collector lock.
    Unlock,
}

/// How much may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// Collectors that wait for the collector lock.
    pub collectors: u8,
    /// Clients that come after one that is gone.
    pub clients: u8,
    /// Processes that are killed.
    pub kills: u8,
    /// Power cuts.
    pub power_cuts: u8,
}

/// How many clients there are at a time.
pub const CLIENTS: usize = 2;
/// How many paths there are.
pub const PATHS: u8 = 3;

impl Paths {
    /// No path.
    pub const NONE: Self = Self(0);
    /// All paths.
    pub const ALL: Self = Self((1 << PATHS) - 1);

    /// One path.
    pub const fn one(path: u8) -> Self {
        Self(1 << path)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are here.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some of `other` are here.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Adds.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Removes.
    pub const fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// The first in the order of paths, in which locks are taken.
    pub const fn first(self) -> Self {
        Self(self.0 & self.0.wrapping_neg())
    }

    /// The last: no other of these refers to it.
    pub const fn last(self) -> Self {
        match self.0.checked_ilog2() {
            Some(bit) => Self(1 << bit),
            None => Self::NONE,
        }
    }

    /// What these refer to directly.
    pub const fn references(self) -> Self {
        Self(self.0 >> 1)
    }

    /// Those that refer to these directly.
    pub const fn referrers(self) -> Self {
        Self((self.0 << 1) & Self::ALL.0)
    }

    /// These and all that they refer to.
    pub const fn closure(self) -> Self {
        match self.0.checked_ilog2() {
            Some(bit) => Self((2 << bit) - 1),
            None => Self::NONE,
        }
    }
}

impl std::fmt::Debug for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for path in 0..PATHS {
            if self.has(Self::one(path)) {
                write!(f, "{path}")?;
            }
        }
        f.write_str("}")
    }
}

impl Task {
    /// What a client with this task pins first of all.
    pub const fn pins(self) -> Paths {
        match self {
            Self::ImportBoth => Paths(0b011),
            Self::ImportTop | Self::UseTop => Paths(0b100),
        }
    }
}

impl Client {
    /// Whether there is a process.
    pub const fn is_alive(&self) -> bool {
        !matches!(self.at, At::Fresh | At::Gone)
    }
}

impl CollectorAt {
    /// Whether somebody answers on the socket.
    pub const fn listens(self) -> bool {
        !matches!(self, Self::Off | Self::Listen | Self::Unlock)
    }
}
