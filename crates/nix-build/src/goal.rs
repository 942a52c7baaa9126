//! What is asked for when graphs are built, and what comes of it.

pub(crate) mod graph;
pub(crate) mod hashes;

use std::collections::{BTreeMap, BTreeSet};

use nix_base::{
    BuildResult, DrvOutput, OutputName, Realisation, StoreDir, StorePath, StorePathSet,
};
use nix_drv::Derivation;

use crate::active::BuildOutcome;
use crate::cancel::Cancel;
use crate::request::BuildRequest;

/// Which outputs of a derivation are wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// All of them.
    All,
    /// These.
    Names(BTreeSet<OutputName>),
}

/// One thing that is to be there in the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A path that nothing here can make.
    Opaque(StorePath),
    /// Outputs of a derivation.
    Built {
        /// The `.drv` file.
        drv: StorePath,
        /// Which outputs.
        outputs: Wanted,
    },
}

impl Target {
    /// The path that it names.
    #[must_use]
    pub fn path(&self) -> &StorePath {
        match self {
            Self::Opaque(path) => path,
            Self::Built { drv, .. } => drv,
        }
    }
}

/// Why a store couldn't answer.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// What is asked of a store while graphs are built.
pub trait GraphStore {
    /// The logical store directory.
    fn store_dir(&self) -> &StoreDir;

    /// The text of a `.drv` file; `None` if the path isn't valid.
    ///
    /// # Errors
    /// Those of the store.
    fn read_derivation(&self, path: &StorePath) -> Result<Option<Vec<u8>>, StoreError>;

    /// Those of `paths` that are valid, kept from collectors.
    ///
    /// # Errors
    /// Those of the store.
    fn valid_paths(&self, paths: &StorePathSet) -> Result<StorePathSet, StoreError>;

    /// Where an output was realised, if it was and the path is still valid.
    ///
    /// # Errors
    /// Those of the store.
    fn find_realisation(&self, id: &DrvOutput) -> Result<Option<StorePath>, StoreError>;

    /// Records that an output was realised.
    ///
    /// # Errors
    /// Those of the store.
    fn add_realisation(&self, realisation: &Realisation) -> Result<(), StoreError>;

    /// Writes the `.drv` file of a resolved derivation.
    ///
    /// # Errors
    /// Those of the store.
    fn add_derivation(&self, drv: &Derivation) -> Result<StorePath, StoreError>;
}

/// One build of a graph, as it is handed on.
#[derive(Debug)]
pub struct Job<'a> {
    /// What to build.
    pub request: BuildRequest,
    /// On once the build isn't wanted any more.
    pub cancel: &'a Cancel,
}

/// Something to be shown.
#[derive(Debug)]
pub enum Event<'a> {
    /// These will be built, inputs before those that need them.
    Plan(&'a Plan),
    /// A build begins.
    Started(&'a StorePath),
    /// A build waits for a slot of the machine; sent by whoever builds.
    Waiting {
        /// The derivation.
        drv: &'a StorePath,
        /// Its place in the queue, from 1 on.
        place: usize,
    },
    /// A build has ended.
    Finished {
        /// The derivation.
        drv: &'a StorePath,
        /// How.
        outcome: &'a BuildOutcome,
        /// Whether its message is part of the answer; that of a dependency is to be shown
        /// now.
        is_target: bool,
    },
}

/// What there is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Derivations to be built, inputs first.
    pub to_build: Vec<StorePath>,
    /// Targets that are there.
    pub valid: StorePathSet,
    /// Paths that nothing here can make.
    pub unknown: StorePathSet,
}

/// How builds went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Each target, in the order in which they were given.
    pub results: Vec<(Target, BuildResult)>,
    /// Where the outputs of each target are that are there.
    pub outputs: Vec<BTreeMap<OutputName, StorePath>>,
    /// Messages of targets that are to be shown besides, as `message` only names them.
    pub messages: Vec<String>,
    /// The exit code, which is also the status of `BuildPaths`; 0 for success.
    pub status: u8,
    /// The message that goes with another status than 0.
    pub message: String,
    /// Whether it was cancelled; there is no answer then.
    pub cancelled: bool,
    /// Derivations that were built.
    pub built: usize,
    /// Derivations that failed, without those that depend on them.
    pub failed: usize,
}
