//! Derivations of the local store with all that they are made from, for a machine that has
//! none of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use nix_base::{OutputName, StorePath, StorePathSet};
use nix_drv::{Derivation, Strictness};
use nix_store_core::LocalStore;

use crate::builds::read_derivation_file;

/// Derivations by path, and what their outputs came out as, as far as that is known.
#[derive(Default)]
pub(super) struct Graph {
    pub(super) drvs: BTreeMap<StorePath, Derivation>,
    known: BTreeMap<(StorePath, OutputName), StorePath>,
}

impl Graph {
    /// Reads `roots` and everything that they are made from.
    pub(super) fn read(store: &LocalStore, roots: &[StorePath]) -> anyhow::Result<Self> {
        let mut graph = Self::default();
        let mut todo: Vec<StorePath> = roots.to_vec();
        while let Some(path) = todo.pop() {
            if graph.drvs.contains_key(&path) {
                continue;
            }
            let drv = read(store, &path)?;
            if drv.is_dynamic() {
                bail!(
                    "'{}' needs outputs of derivations that are themselves built: such \
                     derivations can only be built here, without '--on'",
                    store.store_dir().display(&path)
                );
            }
            todo.extend(drv.input_drvs.keys().cloned());
            for (output, known) in drv.known_outputs(store.store_dir())? {
                graph.known.insert((path.clone(), output), known);
            }
            graph.drvs.insert(path, drv);
        }
        Ok(graph)
    }

    /// Where an output is or will be.
    pub(super) fn output(&self, drv: &StorePath, output: &OutputName) -> Option<&StorePath> {
        self.known.get(&(drv.clone(), output.clone()))
    }

    /// What an output came out as.
    pub(super) fn realise(&mut self, drv: &StorePath, output: OutputName, path: StorePath) {
        self.known.insert((drv.clone(), output), path);
    }

    /// All paths of outputs that are known.
    pub(super) fn known_paths(&self) -> StorePathSet {
        self.known.values().cloned().collect()
    }

    /// Whether one of these outputs isn't in `there`, or nobody knows whether it is.
    pub(super) fn is_missing(
        &self,
        drv: &StorePath,
        outputs: &BTreeSet<OutputName>,
        there: &StorePathSet,
    ) -> bool {
        let mut outputs = outputs.iter();
        outputs.any(|name| {
            self.output(drv, name)
                .is_none_or(|path| !there.contains(path))
        })
    }

    /// What must be built so that the `wanted` outputs exist, if those in `there` do:
    /// inputs before what needs them.
    pub(super) fn missing(
        &self,
        wanted: &[(StorePath, BTreeSet<OutputName>)],
        there: &StorePathSet,
    ) -> Vec<StorePath> {
        let is_missing = |drv, outputs| self.is_missing(drv, outputs, there);
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        // On the way back a derivation comes after its inputs.
        let mut stack: Vec<(StorePath, bool)> = wanted
            .iter()
            .rev()
            .filter(|(drv, outputs)| is_missing(drv, outputs))
            .map(|(drv, _)| (drv.clone(), false))
            .collect();
        while let Some((path, is_back)) = stack.pop() {
            if is_back {
                order.push(path);
                continue;
            }
            if !seen.insert(path.clone()) {
                continue;
            }
            stack.push((path.clone(), true));
            let inputs = self.drvs.get(&path).map(|drv| &drv.input_drvs);
            for (input, node) in inputs.into_iter().flatten() {
                if is_missing(input, &node.outputs) {
                    stack.push((input.clone(), false));
                }
            }
        }
        order
    }
}

fn read(store: &LocalStore, path: &StorePath) -> anyhow::Result<Derivation> {
    let explain = || {
        format!(
            "cannot read derivation '{}'",
            store.store_dir().display(path)
        )
    };
    let text = read_derivation_file(store, path)
        .map_err(anyhow::Error::from_boxed)
        .with_context(explain)?;
    Derivation::parse_file(&text, store.store_dir(), path, Strictness::Lenient)
        .with_context(explain)
}

#[cfg(test)]
mod tests;
