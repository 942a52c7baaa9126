//! Realisations of the outputs: what the answer to the client carries, and what is stored
//! where the operator has content-addressed derivations on.

use std::collections::{BTreeMap, BTreeSet};

use nix_base::json::realisation::realisation_fingerprint;
use nix_base::{DrvOutput, Hash, OutputName, Realisation, ValidPathInfo};

use super::OutputJob;
use crate::failure::{BuildFailure, Result};

/// A realisation of each output, keyed by the hash of the derivation that was built.
pub(super) fn realisations(
    job: &OutputJob<'_>,
    infos: &BTreeMap<OutputName, ValidPathInfo>,
) -> Result<BTreeMap<OutputName, Realisation>> {
    let drv_hash = drv_hash(job)?;
    let realise = |(name, info): (&OutputName, &ValidPathInfo)| {
        let mut realisation = Realisation {
            id: DrvOutput {
                drv_hash,
                output: name.clone(),
            },
            out_path: info.path.clone(),
            signatures: BTreeSet::new(),
            dependent_realisations: BTreeMap::new(),
        };
        if job.config.ca_derivations {
            let text = realisation_fingerprint(&realisation);
            let keys = job.config.secret_keys.iter();
            realisation.signatures = keys.map(|key| key.sign(text.as_bytes())).collect();
        }
        (name.clone(), realisation)
    };
    Ok(infos.iter().map(realise).collect())
}

fn drv_hash(job: &OutputJob<'_>) -> Result<Hash> {
    if let Some(hash) = job.request.realisation_hash {
        return Ok(hash);
    }
    let (drv, dir) = (&job.request.drv, job.store.store_dir());
    let failed = |error| BuildFailure::because("cannot hash the derivation", &error);
    match drv.fixed_hash(dir).map_err(failed)? {
        Some(hash) => Ok(hash),
        None => Ok(drv.masked_hash(dir).map_err(failed)?.hash),
    }
}
