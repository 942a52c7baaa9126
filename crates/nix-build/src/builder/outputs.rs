//! From the end of the builder to valid outputs.

use std::collections::BTreeMap;

use nix_base::{DrvOutput, OutputName, Realisation, StorePath};
use nix_drv::BasicDerivation;

use super::{Done, Job};
use crate::failure::{BuildFailure, Result};

/// The result of a build that isn't needed, since all outputs are valid.
pub(super) fn find_valid(job: &Job<'_>) -> Result<Option<Done>> {
    let outputs = &job.request.drv.outputs;
    let mut found = job.known.clone();
    if found.len() < outputs.len() {
        // What somebody else made of it is nothing that a scope of its own may learn.
        if !job.kind.is_content_addressed()
            || !job.config.ca_derivations
            || job.request.requester.scope.is_some()
        {
            return Ok(None);
        }
        let hash = realisation_hash(job)?;
        for name in outputs.keys().filter(|name| !job.known.contains_key(*name)) {
            let id = DrvOutput {
                drv_hash: hash,
                output: name.clone(),
            };
            match job.store.db().query_realisation(&id)? {
                Some((path, _)) => found.insert(name.clone(), path),
                None => return Ok(None),
            };
        }
    }
    let requester = &job.request.requester;
    if found.values().any(|path| requester.hides(path)) {
        return Ok(None);
    }
    let paths = found.values().cloned().collect();
    // Rooted first, asked afterwards: what is valid now stays.
    job.store.add_temp_roots(&paths)?;
    if job.store.db().query_valid(&paths)?.len() < paths.len() {
        return Ok(None);
    }
    Ok(Some(Done {
        built: false,
        realisations: realisations(job, &found)?,
        outputs: found.into_values().collect(),
    }))
}

/// The realisations of outputs, for the answer to the client.
fn realisations(
    job: &Job<'_>,
    outputs: &BTreeMap<OutputName, StorePath>,
) -> Result<BTreeMap<OutputName, Realisation>> {
    let hash = realisation_hash(job)?;
    let realisation = |(name, path): (&OutputName, &StorePath)| {
        let realisation = Realisation {
            id: DrvOutput {
                drv_hash: hash,
                output: name.clone(),
            },
            out_path: path.clone(),
            signatures: Default::default(),
            dependent_realisations: Default::default(),
        };
        (name.clone(), realisation)
    };
    Ok(outputs.iter().map(realisation).collect())
}

/// The hash that the realisations of this build are keyed by.
fn realisation_hash(job: &Job<'_>) -> Result<nix_base::Hash> {
    if let Some(hash) = &job.request.realisation_hash {
        return Ok(*hash);
    }
    let drv: &BasicDerivation = &job.request.drv;
    let dir = job.store.store_dir();
    let hash = match drv.fixed_hash(dir) {
        Ok(Some(fixed)) => Ok(fixed),
        Ok(None) => drv.masked_hash(dir).map(|masked| masked.hash),
        Err(error) => Err(error),
    };
    hash.map_err(|error| BuildFailure::because("cannot hash the derivation", &error))
}
