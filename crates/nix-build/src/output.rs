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

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix_base::{OutputName, Realisation, StorePath, StorePathHash, StorePathSet, ValidPathInfo};
use nix_drv::{DerivationOptions, DerivationOutput};
use nix_nar::RefScanSink;
use nix_store_core::lock::{LockDir, PathLocks, Wait};
use nix_store_core::{LocalStore, NewOutput, PrivateDir};

use crate::config::BuildConfig;
use crate::failure::{BuildFailure, Result};
use crate::request::{BuildMode, BuildRequest};
use crate::scratch::ScratchPaths;

mod checks;
mod compare;
mod content;
mod realise;
mod sort;
mod take_in;
mod tree;

use checks::Checker;
use content::{Finisher, Made};
use tree::{Scanned, Tree};

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
    /// The locks of the output paths that are known beforehand. Those that become known are
    /// added.
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

/// Checks the outputs of a build that succeeded, and makes them valid. The caller holds the
/// locks of the output paths that are known beforehand.
///
/// # Errors
/// Whatever is wrong with an output. Nothing of this build is at a final path then.
pub fn finish(given: OutputJob<'_>) -> Result<Finished> {
    let job = &given;
    let mut infos = valid_before(job)?;
    let names = job.request.drv.outputs.keys();
    let wanted: Vec<&OutputName> = names.filter(|name| !infos.contains_key(*name)).collect();
    let paths = candidates(job);
    let mut scanner = RefScanSink::new(paths.keys().copied());
    let mut scanned = take_in::take_in(job, &wanted, &mut scanner)?;
    let order = order(job, &scanned)?;
    let mut finisher = Finisher::new(job, &paths, &mut scanner);
    let mut made = Vec::with_capacity(order.len());
    for name in order {
        if let Some((tree, scan)) = scanned.remove(&name) {
            let output = finisher.finish(&name, tree, scan)?;
            infos.insert(name, output.info.clone());
            made.push(output);
        }
    }
    if job.request.mode == BuildMode::Check {
        return compare_all(job, infos, &made);
    }
    let checker = Checker {
        store: job.store,
        all: &infos,
        new: made.iter().map(|m| (&m.info.path, &m.info)).collect(),
    };
    checker.check(job.options)?;
    let realisations = realise::realisations(job, &infos)?;
    let locks = lock_unknown(job, &made)?;
    given.locks.append(locks);
    register(&given, &made, &realisations)?;
    Ok(Finished {
        infos,
        realisations,
    })
}

/// Removes what a builder left in the store itself, where it had no sandbox: after a failure
/// all of it, after success what was made at scratch paths. Valid paths stay. The caller
/// holds the locks of the output paths that are known beforehand.
pub fn discard_leftovers(store: &LocalStore, scratch: &ScratchPaths) {
    for (_, output) in scratch.iter() {
        if let Err(error) = store.remove_invalid(&output.scratch) {
            tracing::warn!(
                path = %output.scratch,
                error = &error as &dyn std::error::Error,
                "what a builder left in the store stays behind"
            );
        }
    }
}

/// The outputs that are valid already, and stay as they are.
fn valid_before(job: &OutputJob<'_>) -> Result<BTreeMap<OutputName, ValidPathInfo>> {
    let mut infos = BTreeMap::new();
    if job.request.mode == BuildMode::Check {
        return Ok(infos);
    }
    for (name, output) in job.scratch.iter() {
        if let Some(known) = &output.known
            && let Some(info) = job.store.db().query_path_info(known)?
        {
            infos.insert(name.clone(), info);
        }
    }
    Ok(infos)
}

/// What outputs can refer to: the closure of the inputs, and each other.
fn candidates(job: &OutputJob<'_>) -> BTreeMap<StorePathHash, StorePath> {
    let scratch = job.scratch.iter().map(|(_, output)| &output.scratch);
    let paths = job.inputs.iter().chain(scratch);
    paths.map(|path| (*path.hash(), path.clone())).collect()
}

/// The order in which outputs are finished.
fn order(
    job: &OutputJob<'_>,
    scanned: &BTreeMap<OutputName, (Tree<'_>, Scanned)>,
) -> Result<Vec<OutputName>> {
    let outputs = job.scratch.iter();
    let by_hash: BTreeMap<&StorePathHash, &OutputName> =
        outputs.map(|(name, o)| (o.scratch.hash(), name)).collect();
    let referred = |scan: &Scanned| {
        let outputs = scan.found.iter().filter_map(|hash| by_hash.get(hash));
        outputs.map(|&name| name.clone()).collect()
    };
    let references = scanned
        .iter()
        .map(|(name, (_, scan))| (name.clone(), referred(scan)))
        .collect();
    sort::sort(&references).map_err(|sort::Cycle { output, referrer }| {
        let drv = job.store.store_dir().print(&job.request.drv_path);
        BuildFailure::misc(format!(
            "cycle detected in build of '{drv}' in the references of output '{output}' from output '{referrer}'"
        ))
    })
}

fn compare_all(
    job: &OutputJob<'_>,
    mut infos: BTreeMap<OutputName, ValidPathInfo>,
    made: &[Made<'_>],
) -> Result<Finished> {
    for output in made {
        if let Some(valid) = compare::compare(job, output)? {
            for info in infos.values_mut().filter(|i| i.path == valid.path) {
                *info = valid.clone();
            }
        }
    }
    let realisations = realise::realisations(job, &infos)?;
    Ok(Finished {
        infos,
        realisations,
    })
}

/// Makes the outputs valid.
fn register(
    job: &OutputJob<'_>,
    made: &[Made<'_>],
    realisations: &BTreeMap<OutputName, Realisation>,
) -> Result<()> {
    let outputs: Vec<NewOutput<'_>> = made
        .iter()
        .map(|output| NewOutput {
            dir: output.tree.dir,
            name: output.tree.name.clone(),
            info: output.info.clone(),
        })
        .collect();
    let is_impure = |output: &DerivationOutput| matches!(output, DerivationOutput::Impure { .. });
    // What an unresolved derivation of somebody without full rights came to is no fact.
    let is_resolved = |output: &DerivationOutput| {
        let is_free = job.request.requester.restrictions.is_none();
        is_free || matches!(output, DerivationOutput::CaFloating { .. })
    };
    let outputs_of = &job.request.drv.outputs;
    let stores_realisations = job.config.ca_derivations
        && !outputs_of.values().any(is_impure)
        && outputs_of.values().all(is_resolved);
    let rows: Vec<Realisation> = match stores_realisations {
        true => realisations.values().cloned().collect(),
        false => Vec::new(),
    };
    Ok(job.store.register_outputs(&outputs, &rows)?)
}

/// Locks the paths that became known only now. All at once and in order, so that two builds
/// with the same outputs don't wait for each other.
fn lock_unknown(job: &OutputJob<'_>, made: &[Made<'_>]) -> Result<PathLocks> {
    let known: BTreeSet<&StorePath> = job
        .scratch
        .iter()
        .filter_map(|(_, output)| output.known.as_ref())
        .collect();
    let new = made.iter().map(|output| &output.info.path);
    let unknown: StorePathSet = new.filter(|path| !known.contains(path)).cloned().collect();
    if unknown.is_empty() {
        return Ok(PathLocks::default());
    }
    job.store.add_temp_roots(&unknown)?;
    let names: Vec<String> = unknown.iter().map(StorePath::base_name).collect();
    let locks = LockDir::open(&job.store.layout().real_store)
        .and_then(|dir| dir.lock_all(names.iter().map(String::as_str), Wait::Forever))
        .map_err(|error| BuildFailure::because("cannot lock the outputs", &error))?;
    Ok(locks.unwrap_or_default())
}

#[cfg(test)]
mod tests;
