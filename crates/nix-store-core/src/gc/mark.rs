//! Which valid paths are alive.

use std::collections::BTreeSet;

use nix_base::{StorePath, StorePathHash};

use crate::db::StoreGraph;

/// The valid paths that something keeps.
#[derive(Debug)]
pub(super) struct Marks {
    alive: Vec<bool>,
    keep_outputs: bool,
    keep_derivations: bool,
}

impl Marks {
    /// Nothing is alive yet.
    pub(super) fn new(graph: &StoreGraph, keep_outputs: bool, keep_derivations: bool) -> Self {
        Self {
            alive: vec![false; graph.len()],
            keep_outputs,
            keep_derivations,
        }
    }

    /// Marks what a root at `place` keeps.
    pub(super) fn mark(&mut self, graph: &StoreGraph, place: u32) {
        let mut todo = vec![place];
        while let Some(place) = todo.pop() {
            if std::mem::replace(&mut self.alive[place as usize], true) {
                continue;
            }
            todo.extend(graph.references(place));
            if self.keep_outputs {
                todo.extend(graph.outputs(place));
            }
            if self.keep_derivations {
                todo.extend(graph.deriver(place));
            }
        }
    }

    /// Marks what a root keeps that may not be valid.
    pub(super) fn mark_path(&mut self, graph: &StoreGraph, path: &StorePath) {
        if let Some(place) = graph.find(path) {
            self.mark(graph, place);
        }
    }

    /// Marks what a temporary root keeps.
    pub(super) fn mark_hash(&mut self, graph: &StoreGraph, hash: &StorePathHash) {
        for place in graph.with_hash(hash) {
            self.mark(graph, place);
        }
    }

    /// What would be in the way of deleting the path at `place` alone: what refers to it, and
    /// what keeps it as its output or its derivation.
    pub(super) fn users(&self, graph: &StoreGraph, place: u32) -> Vec<u32> {
        let mut users = graph.referrers(place).to_vec();
        if self.keep_derivations {
            let outputs = graph.outputs(place).iter();
            users.extend(outputs.filter(|&&output| graph.deriver(output) == Some(place)));
        }
        if self.keep_outputs {
            users.extend(graph.valid_derivers(place));
        }
        users
    }

    /// The other way round: what [`Self::users`] names the path at `place` for.
    pub(super) fn used(&self, graph: &StoreGraph, place: u32) -> Vec<u32> {
        let mut used = graph.references(place).to_vec();
        if self.keep_derivations {
            used.extend(graph.deriver(place));
        }
        if self.keep_outputs {
            used.extend(graph.outputs(place));
        }
        used
    }

    /// Has nothing be dead but `dead`.
    pub(super) fn mark_all_but(&mut self, dead: &BTreeSet<u32>) {
        for (place, alive) in (0..).zip(&mut self.alive) {
            *alive = !dead.contains(&place);
        }
    }

    /// Whether something keeps the path at `place`.
    pub(super) fn is_alive(&self, place: u32) -> bool {
        self.alive[place as usize]
    }

    /// The places of what is alive, or of what isn't, ascending.
    pub(super) fn places(&self, alive: bool) -> impl Iterator<Item = u32> {
        (0..)
            .zip(&self.alive)
            .filter_map(move |(place, &is)| (is == alive).then_some(place))
    }
}

#[cfg(test)]
mod tests;
