//! From a derivation of a graph, with its inputs built, to the request for one build.

use std::collections::BTreeMap;

use nix_base::{BuildResult, BuildStatus, DrvOutput, Hash, OutputName, Realisation, StorePath};
use nix_drv::{Derivation, DerivationOutput, DerivationType};

use super::Scheduler;
use crate::active::BuildOutcome;
use crate::failure::{BuildFailure, Result};
use crate::goal::GraphStore;
use crate::goal::graph::{Node, unanswered_by};
use crate::goal::hashes::Hashes;
use crate::request::{BuildMode, BuildRequest};

/// Where the outputs of inputs are.
pub(super) type InputPaths = BTreeMap<(StorePath, OutputName), StorePath>;

/// A build that can begin.
pub(super) enum Prepared {
    /// It has to run.
    Build {
        request: Box<BuildRequest>,
        /// The hash of the derivation that was resolved for it, if one was.
        resolved_from: Option<Hash>,
    },
    /// What it resolves to was built before.
    Done(Box<BuildOutcome>),
}

impl From<BuildRequest> for Prepared {
    /// A build whose result is recorded by whoever builds.
    fn from(request: BuildRequest) -> Self {
        Self::Build {
            request: Box::new(request),
            resolved_from: None,
        }
    }
}

/// Replaces the inputs of `drv`, the derivation of `node`, by their paths.
pub(super) fn prepare<S: GraphStore>(
    scheduler: &Scheduler<'_, S>,
    store: &S,
    hashes: &Hashes,
    node: &Node,
    drv: &Derivation,
    inputs: &InputPaths,
) -> Result<Prepared> {
    let explain = |error: nix_drv::Error| {
        let path = store.store_dir().print(&node.path);
        BuildFailure::because(&format!("derivation '{path}' cannot be built"), &error)
    };
    let mut request = BuildRequest {
        drv_path: node.path.clone(),
        drv: drv.basic.clone(),
        realisation_hash: None,
        mode: match node.is_target {
            true => scheduler.mode,
            false => BuildMode::Normal,
        },
        limits: scheduler.limits,
        keep_failed: scheduler.keep_failed,
        requester: scheduler.requester.clone(),
    };
    if drv.input_drvs.is_empty() {
        return Ok(request.into());
    }
    let find = |path: &StorePath, output: &OutputName| -> nix_drv::Result<_> {
        Ok(inputs.get(&(path.clone(), output.clone())).cloned())
    };
    let kind = drv.derivation_type().map_err(explain)?;
    if kind == DerivationType::InputAddressed {
        request.drv = drv.with_inputs(inputs.values().cloned().collect());
        request.realisation_hash = Some(hashes.of(store, drv).map_err(explain)?);
        return Ok(request.into());
    }
    request.drv = drv.resolve(store.store_dir(), find).map_err(explain)?;
    if kind == DerivationType::CaFixed && !scheduler.ca_derivations {
        // An input may be floating all the same; path and hash stay what they are.
        return Ok(request.into());
    }
    let resolved = Derivation::from(request.drv.clone());
    request.drv_path = store
        .add_derivation(&resolved)
        .map_err(|error| unanswered_by(&error))?;
    if kind == DerivationType::CaFixed {
        return Ok(request.into());
    }
    let hash = hashes.of(store, drv).map_err(explain)?;
    if request.mode == BuildMode::Normal
        && let Some(outcome) = resolved_before(store, hashes, node, &resolved)?
    {
        record(store, hash, drv, &outcome.result)?;
        return Ok(Prepared::Done(Box::new(outcome)));
    }
    Ok(Prepared::Build {
        request: Box::new(request),
        resolved_from: Some(hash),
    })
}

/// The outcome if all wanted outputs of a resolved derivation are there.
fn resolved_before<S: GraphStore>(
    store: &S,
    hashes: &Hashes,
    node: &Node,
    resolved: &Derivation,
) -> Result<Option<BuildOutcome>> {
    if !matches!(resolved.derivation_type(), Ok(DerivationType::CaFloating)) {
        return Ok(None);
    }
    let Ok(drv_hash) = hashes.of(store, resolved) else {
        return Ok(None);
    };
    let mut result = BuildResult::failure(BuildStatus::ResolvesToAlreadyValid, "");
    for output in &node.wanted {
        let id = DrvOutput {
            drv_hash,
            output: output.clone(),
        };
        let found = store.find_realisation(&id);
        let Some(out_path) = found.map_err(|error| unanswered_by(&error))? else {
            return Ok(None);
        };
        let realisation = Realisation {
            id,
            out_path,
            signatures: Default::default(),
            dependent_realisations: BTreeMap::new(),
        };
        result.built_outputs.insert(output.clone(), realisation);
    }
    let paths = paths_of(&result).into_values().collect();
    let valid = store.valid_paths(&paths).map_err(|e| unanswered_by(&e))?;
    Ok((valid == paths).then(|| result.into()))
}

/// Records under the hash of `drv` what came of the derivation that it resolved to.
pub(super) fn record<S: GraphStore>(
    store: &S,
    drv_hash: Hash,
    drv: &Derivation,
    result: &BuildResult,
) -> Result<()> {
    for (output, realisation) in &result.built_outputs {
        // Nix compat: what is impure isn't found again.
        if matches!(
            drv.outputs.get(output),
            Some(DerivationOutput::Impure { .. })
        ) {
            continue;
        }
        let mut realisation = realisation.clone();
        realisation.id = DrvOutput {
            drv_hash,
            output: output.clone(),
        };
        realisation.signatures.clear();
        store
            .add_realisation(&realisation)
            .map_err(|error| unanswered_by(&error))?;
    }
    Ok(())
}

/// Where a result says that the outputs are.
pub(super) fn paths_of(result: &BuildResult) -> BTreeMap<OutputName, StorePath> {
    result
        .built_outputs
        .iter()
        .map(|(name, realisation)| (name.clone(), realisation.out_path.clone()))
        .collect()
}
