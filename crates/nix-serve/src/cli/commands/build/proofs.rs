//! Proofs of what is built on a machine that doesn't take our word for output paths.
//!
//! A proof consists of the texts that the hashes of a derivation's direct inputs are of.
//! The other side keeps those it has verified, so one question about all of the graph tells
//! which have to go along, and each goes once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use nix_base::{Hash, HashAlgo, StoreDir, StorePath, StorePathSet};
use nix_drv::proof::{PackedInput, PackedProof, ProofText, TextHash, input_text};
use nix_drv::{Derivation, DerivationType, HashKind, HashMemo};

use super::graph::Graph;
use crate::client::RemoteStore;

/// What is known of the texts of a graph.
pub(super) struct Proofs {
    dir: StoreDir,
    /// The hashes of derivations that are inputs of others.
    memo: HashMemo,
    /// Texts that the other side has.
    there: BTreeSet<TextHash>,
}

impl Proofs {
    /// Asks once which texts are known there of all that it takes to prove `to_build`.
    pub(super) fn prepare(
        graph: &Graph,
        to_build: &[StorePath],
        store: &mut RemoteStore,
        dir: &StoreDir,
    ) -> anyhow::Result<Self> {
        let inputs = to_build
            .iter()
            .filter_map(|path| graph.drvs.get(path))
            .filter(|drv| is_proven(drv))
            .flat_map(|drv| drv.input_drvs.keys().cloned())
            .collect();
        let memo = hashes_of(graph, &inputs, dir)?;
        let mut texts = BTreeSet::new();
        for input in &inputs {
            texts.extend(text_hash(&memo, input)?);
        }
        let there = match texts.is_empty() {
            true => texts,
            false => {
                let missing = store.query_proof_texts(&texts)?;
                texts.difference(&missing).copied().collect()
            }
        };
        Ok(Self {
            dir: dir.clone(),
            memo,
            there,
        })
    }

    /// The proof for `drv`, without the texts that are there; `None` if its output paths
    /// follow from what is sent in any case.
    pub(super) fn pack(
        &self,
        graph: &Graph,
        drv: &Derivation,
    ) -> anyhow::Result<Option<PackedProof>> {
        if !is_proven(drv) {
            return Ok(None);
        }
        let mut inputs: BTreeMap<TextHash, PackedInput> = BTreeMap::new();
        for (path, node) in &drv.input_drvs {
            if node.outputs.is_empty() {
                continue;
            }
            let Some(hash) = text_hash(&self.memo, path)? else {
                // Its paths aren't known before the build, so neither are those of `drv`.
                return Ok(None);
            };
            let input = match inputs.entry(hash) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(PackedInput {
                    hash,
                    text: self.text(graph, path, &hash)?,
                    wanted: BTreeSet::new(),
                }),
            };
            input.wanted.extend(node.outputs.iter().cloned());
        }
        Ok(Some(PackedProof {
            sources: drv.input_srcs.clone(),
            inputs: inputs.into_values().collect(),
        }))
    }

    /// Takes note that the other side has built `path`, with this proof if it took one: it
    /// keeps the texts of the proof, and that of the derivation itself.
    pub(super) fn built(
        &mut self,
        path: &StorePath,
        proof: Option<&PackedProof>,
    ) -> anyhow::Result<()> {
        let inputs = proof.into_iter().flat_map(|proof| &proof.inputs);
        self.there.extend(inputs.map(|input| input.hash));
        if self.memo.find(path).is_some() {
            self.there.extend(text_hash(&self.memo, path)?);
        }
        Ok(())
    }

    fn text(
        &self,
        graph: &Graph,
        path: &StorePath,
        hash: &TextHash,
    ) -> anyhow::Result<Option<ProofText>> {
        if self.there.contains(hash) {
            return Ok(None);
        }
        let text = input_text(find(graph, path)?, &self.dir, &self.memo)
            .with_context(|| format!("cannot prove '{}'", self.dir.display(path)))?;
        Ok(Some(ProofText::new(text)))
    }
}

/// Whether the output paths follow from input derivations, which aren't sent.
fn is_proven(drv: &Derivation) -> bool {
    drv.derivation_type().ok() == Some(DerivationType::InputAddressed)
        && drv.input_drvs.values().any(|node| !node.outputs.is_empty())
}

/// The hashes of `roots` and all that they take.
fn hashes_of(graph: &Graph, roots: &StorePathSet, dir: &StoreDir) -> anyhow::Result<HashMemo> {
    let mut memo = HashMemo::new();
    let mut seen = BTreeSet::new();
    // On the way back a derivation comes after its inputs.
    let mut stack: Vec<(&StorePath, bool)> = roots.iter().map(|path| (path, false)).collect();
    while let Some((path, is_back)) = stack.pop() {
        if memo.find(path).is_some() {
            continue;
        }
        let drv = find(graph, path)?;
        if is_back {
            let hash = drv
                .input_hash(dir, &memo)
                .with_context(|| format!("cannot hash derivation '{}'", dir.display(path)))?;
            memo.insert(path, hash);
            continue;
        }
        // In a cycle the hash of an input will be missing on the way back.
        if !seen.insert(path) {
            continue;
        }
        stack.push((path, true));
        let inputs = drv.input_drvs.keys();
        stack.extend(inputs.map(|input| (input, false)));
    }
    Ok(memo)
}

fn find<'g>(graph: &'g Graph, path: &StorePath) -> anyhow::Result<&'g Derivation> {
    graph
        .drvs
        .get(path)
        .context("a derivation of the graph is missing")
}

/// The hash of the text of an input; `None` if none is known before it is built.
fn text_hash(memo: &HashMemo, path: &StorePath) -> anyhow::Result<Option<TextHash>> {
    let hash = memo
        .find(path)
        .context("the hash of an input derivation is missing")?;
    if hash.kind() == HashKind::Deferred {
        return Ok(None);
    }
    let hash = Hash::parse_digits(HashAlgo::Sha256, hash.as_base16())?;
    Ok(Some(hash.as_bytes().try_into()?))
}

#[cfg(test)]
mod tests;
