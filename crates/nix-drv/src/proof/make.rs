//! Making proofs from derivations.

use std::collections::{BTreeMap, BTreeSet};

use nix_base::{OutputName, StoreDir, StorePath};

use super::{Proof, ProofError, ProofInput, ProofText, TextHash};
use crate::derivation::Derivation;
use crate::error::ReadError;
use crate::hash_modulo::{HashKind, HashMemo};

impl Proof {
    /// The proof for `drv`, for whose inputs `text_of` supplies the texts, see
    /// [`input_text`].
    ///
    /// # Errors
    /// `text_of` fails, or an input is the output of an output.
    pub fn of<E: Into<ReadError>>(
        drv: &Derivation,
        mut text_of: impl FnMut(&StorePath) -> Result<Vec<u8>, E>,
    ) -> Result<Self, ProofError> {
        if drv.is_dynamic() {
            return Err(ProofError::Dynamic(drv.name.to_string()));
        }
        let mut wanted: BTreeMap<TextHash, (ProofText, BTreeSet<OutputName>)> = BTreeMap::new();
        for (path, node) in &drv.input_drvs {
            // An input of which nothing is wanted is no part of the hash.
            if node.outputs.is_empty() {
                continue;
            }
            let text = text_of(path).map_err(|error| ProofError::Read {
                path: path.to_string(),
                source: error.into(),
            })?;
            let text = ProofText::new(text);
            let entry = wanted.entry(*text.hash());
            let (_, outputs) = entry.or_insert((text, BTreeSet::new()));
            outputs.extend(node.outputs.iter().cloned());
        }
        let inputs = wanted.into_values();
        Ok(Self {
            sources: drv.input_srcs.clone(),
            inputs: inputs
                .map(|(text, wanted)| ProofInput { text, wanted })
                .collect(),
        })
    }
}

/// The text whose hash stands for `drv` among the inputs of others. `memo` has the
/// hashes of its inputs. For a whole graph there is
/// [`Visited::input_text`](crate::Visited::input_text).
///
/// # Errors
/// A hash is missing, or its output paths aren't known before the build.
pub fn input_text(
    drv: &Derivation,
    store_dir: &StoreDir,
    memo: &HashMemo,
) -> Result<Vec<u8>, ProofError> {
    if drv.input_hash(store_dir, memo)?.kind() == HashKind::Deferred {
        return Err(ProofError::Deferred);
    }
    Ok(drv.input_text(store_dir, memo)?)
}
