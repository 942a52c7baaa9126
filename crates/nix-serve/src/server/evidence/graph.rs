//! Whole graphs of derivation files.

use std::collections::BTreeMap;

use nix_base::{StorePath, StorePathSet};
use nix_drv::proof::{Proof, input_text, text_outputs, verify};
use nix_drv::{Derivation, DerivationType, HashMemo};
use nix_store_core::{IncludeOutputs, Lock, Store};

use super::files::Wrong;
use super::{BUILD_ANY, Guard};
use crate::builds::read_derivation_file;
use crate::policy::Capability;
use crate::proto::BuildTarget;
use crate::server::ServeError;
use crate::server::refusal::{Refusal, Rule};

/// A graph that was let pass.
#[derive(Debug, Default)]
pub(in crate::server) struct CheckedGraph {
    /// Outputs that the client doesn't see.
    pub(in crate::server) hidden: StorePathSet,
}

impl Guard<'_> {
    /// Decides on a build of derivations of the store with all that they need.
    ///
    /// # Errors
    /// [`ServeError::Refused`], or the store fails.
    pub(in crate::server) fn check_graph(
        &self,
        targets: &[BuildTarget],
    ) -> Result<CheckedGraph, ServeError> {
        let is_free = self.role().allows(Capability::BuildAny);
        if is_free && self.sees_everything() {
            return Ok(CheckedGraph::default());
        }
        let targets: StorePathSet = targets.iter().map(|one| one.path().clone()).collect();
        let valid = self.valid(&targets, Lock::Yes)?;
        if let Some(missing) = targets.difference(&valid).next() {
            let what = format!("path '{}' is not valid", self.dir().display(missing));
            return Err(Refusal::new(Rule::View, what)
                .unless("a copy of the derivation with its closure")
                .into());
        }
        let closure = self.store().closure(&targets, IncludeOutputs::No)?;
        self.require_seen(&closure)?;
        let roots = targets.iter().filter(|path| path.is_derivation());
        let drvs = self.derivations(roots.cloned().collect())?;
        if !is_free {
            self.verify_all(&drvs)?;
        }
        let mut outputs = StorePathSet::new();
        for (path, drv) in &drvs {
            self.require_known_paths(path, drv)?;
            let known = drv.known_outputs(self.dir());
            let known = known.map_err(|error| wrong(self, path, &error))?;
            outputs.extend(known.into_iter().map(|(_, path)| path));
        }
        Ok(CheckedGraph {
            hidden: self.hidden(&outputs)?,
        })
    }

    /// Paths that only become known on the way can't be hidden from the start.
    fn require_known_paths(&self, path: &StorePath, drv: &Derivation) -> Result<(), ServeError> {
        let kind = drv.derivation_type();
        let kind = kind.map_err(|error| wrong(self, path, &error))?;
        if kind != DerivationType::Deferred || self.sees_everything() {
            return Ok(());
        }
        let what = format!(
            "the output paths of '{}' depend on how its inputs come out",
            self.dir().display(path)
        );
        Err(Refusal::new(Rule::View, what)
            .unless("a view of everything, or a request for it with its inputs in place,")
            .into())
    }

    /// All derivations that `roots` need.
    fn derivations(
        &self,
        roots: Vec<StorePath>,
    ) -> Result<BTreeMap<StorePath, Derivation>, ServeError> {
        let mut found = BTreeMap::new();
        let mut todo = roots;
        while let Some(path) = todo.pop() {
            if found.contains_key(&path) {
                continue;
            }
            let drv = self.read_drv(&path);
            let drv = drv.map_err(|error| wrong(self, &path, &*error))?;
            todo.extend(drv.input_drvs.keys().cloned());
            found.insert(path, drv);
        }
        Ok(found)
    }

    fn verify_all(&self, drvs: &BTreeMap<StorePath, Derivation>) -> Result<(), ServeError> {
        let mut memo = HashMemo::new();
        let read = |path: &StorePath| read_derivation_file(self.store(), path);
        let roots = drvs.keys().cloned();
        if let Err(error) = memo.load(roots, self.dir(), read) {
            let what = format!("derivations that can't be hashed: {error}");
            return Err(Refusal::new(Rule::Evidence, what).unless(BUILD_ANY).into());
        }
        for (path, drv) in drvs {
            self.verify_one(path, drv, drvs, &memo)
                .map_err(|error| wrong(self, path, &*error))?;
        }
        Ok(())
    }

    fn verify_one(
        &self,
        path: &StorePath,
        drv: &Derivation,
        drvs: &BTreeMap<StorePath, Derivation>,
        memo: &HashMemo,
    ) -> Result<(), Wrong> {
        let dir = self.dir();
        if drv.store_path(dir)? != *path {
            return Err("its path doesn't follow from its text".into());
        }
        // Paths of the others follow from what the server computes or checks itself.
        if drv.derivation_type()? != DerivationType::InputAddressed {
            return Ok(());
        }
        let proof = Proof::of(drv, |path| {
            let input = drvs.get(path).ok_or("an input is missing")?;
            Ok::<_, Wrong>(input_text(input, dir, memo)?)
        })?;
        let mut inputs = proof.sources.clone();
        for input in &proof.inputs {
            let outputs = text_outputs(input.text.as_bytes(), dir)?;
            let wanted = outputs
                .iter()
                .filter(|(name, _)| input.wanted.contains(*name));
            inputs.extend(wanted.map(|(_, path)| path.clone()));
        }
        verify(&drv.with_inputs(inputs), &proof, dir)?;
        Ok(())
    }
}

fn wrong(guard: &Guard<'_>, path: &StorePath, error: &dyn std::error::Error) -> ServeError {
    Refusal::new(Rule::Evidence, guard.explain(path, error))
        .unless(BUILD_ANY)
        .into()
}
