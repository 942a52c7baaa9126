//! What happens to outputs after the builder's end.
//!
//! Nothing of the build runs any more when this begins, and the outputs lie in a directory
//! that only the server can enter. So what is looked at here stays as it was seen.
//!
//! ```text
//! check       there, owned by the builder, not writable for others        in order of names
//! canonical   types, owners, links out of the tree, modes, times, attributes
//! scan        references and NAR hash, in one pass
//! sort        what is referred to first; a circle is refused
//! finish      rewrite scratch hashes, compute content addresses
//! judge       fixed hashes, allowed and forbidden references, sizes
//! register    move into place, rows in one transaction
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix_base::{OutputName, Realisation, StorePathSet, ValidPathInfo};
use nix_drv::DerivationOptions;
use nix_store_core::lock::PathLocks;
use nix_store_core::{LocalStore, PrivateDir};

use crate::config::BuildConfig;
use crate::failure::{BuildFailure, Result};
use crate::request::BuildRequest;
use crate::scratch::ScratchPaths;

/// Outputs as a builder left them, and what has to be known to make them valid.
pub struct OutputJob<'j> {
    /// The store that they are for.
    pub store: &'j LocalStore,
    /// What the operator wishes.
    pub config: &'j BuildConfig,
    /// What was built.
    pub request: &'j BuildRequest,
    /// The derivation's wishes.
    pub options: &'j DerivationOptions,
    /// The paths that the builder was given.
    pub scratch: &'j ScratchPaths,
    /// The closure of the inputs: what outputs can refer to.
    pub inputs: &'j StorePathSet,
    /// Where the outputs are, under the base names of their scratch paths. Only the server
    /// can reach it.
    pub place: BorrowedFd<'j>,
    /// The path of `place`, for messages.
    pub place_path: &'j Path,
    /// Where copies are made: another directory that only the server can reach, on the
    /// store's file system. It may be the one that `place` is in.
    pub private: &'j PrivateDir,
    /// The user ids that the builder had, as the host counts them.
    pub uids: Range<u32>,
    /// Whether somebody may still have outputs open for writing, since the build could talk
    /// to others: they are copied before they are looked at.
    pub copy_first: bool,
    /// The locks of the known output paths. Those that become known are added.
    pub locks: &'j mut PathLocks,
    /// Whether outputs that differ from the valid ones are kept, when this is a comparison;
    /// then told to `on_difference`.
    pub keep_different: bool,
    /// Is told where an output lies that differs from the valid one.
    pub on_difference: &'j dyn Fn(&Difference),
}

/// An output that came out differently when it was built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The valid one.
    pub old: PathBuf,
    /// The new one: `.check` beside it.
    pub new: PathBuf,
}

/// What became of the outputs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// The metadata of every output, those included that were valid before.
    pub infos: BTreeMap<OutputName, ValidPathInfo>,
    /// Every output's realisation, for the answer.
    pub realisations: BTreeMap<OutputName, Realisation>,
}

/// Checks the outputs of a build that succeeded, and makes them valid.
///
/// # Errors
/// Whatever is wrong with an output. Nothing of this build is at a final path then.
pub fn finish(job: OutputJob<'_>) -> Result<Finished> {
    let _ = job;
    Err(BuildFailure::misc("outputs can't be registered"))
}
