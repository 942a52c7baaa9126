//! Builds whole graphs of derivations.
//!
//! ```text
//! load     from the targets down to what is there; a plan
//! run      ready derivations by name, each on one of `max_jobs` threads
//! report   what failed, and what depended on it
//! ```
//!
//! A derivation is ready once all its inputs are built. If one fails, those that need it are
//! never ready; the others go on only if they may.

mod prepare;
mod report;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use nix_base::StorePathSet;

use crate::active::BuildOutcome;
use crate::cancel::Cancel;
use crate::failure::{BuildFailure, Result};
use crate::goal::graph::{Graph, NodeState, unanswered_by};
use crate::goal::hashes::Hashes;
use crate::goal::{Event, GraphStore, Job, Outcome, Plan, StoreError, Target};
use crate::request::{BuildLimits, BuildMode};
use crate::requester::Requester;

/// Builds graphs, several builds at a time.
pub struct Scheduler<'a, S> {
    /// Opens the store once for each thread.
    pub open: &'a (dyn Fn() -> Result<S, StoreError> + Sync),
    /// Does one build.
    pub build: &'a (dyn Fn(&S, Job<'_>) -> BuildOutcome + Sync),
    /// Is told what happens, from any thread.
    pub on_event: &'a (dyn Fn(Event<'_>) + Sync),
    /// On once the client is gone.
    pub cancel: &'a Cancel,
    /// Builds at a time in this process.
    pub max_jobs: u32,
    /// Whether to go on after a failure.
    pub keep_going: bool,
    /// Build, or compare; inputs are only ever built.
    pub mode: BuildMode,
    /// The client's bounds, of each build.
    pub limits: BuildLimits,
    /// Whether build directories stay after failures.
    pub keep_failed: bool,
    /// Who asks; `build` may know more of each derivation.
    pub requester: &'a Requester,
    /// Whether fixed outputs are built from resolved derivations, as others whose path
    /// follows from their content (`experimental-features = ca-derivations`).
    pub ca_derivations: bool,
}

impl<S: GraphStore> Scheduler<'_, S> {
    /// Makes all targets valid.
    pub fn build_paths(&self, targets: &[Target]) -> Outcome {
        self.try_build(targets)
            .unwrap_or_else(|failure| report::nothing_done(self, targets, &failure))
    }

    fn try_build(&self, targets: &[Target]) -> Result<Outcome> {
        let store = (self.open)().map_err(|error| unanswered_by(&error))?;
        let hashes = Hashes::default();
        let graph = Graph::load(&store, targets, self.mode, &hashes)?;
        let plan = plan_of(&store, &graph)?;
        if !plan.to_build.is_empty() {
            (self.on_event)(Event::Plan(&plan));
        }
        let done = run::run(self, &store, &graph, &hashes)?;
        Ok(report::report(self, &store, targets, &graph, done))
    }
}

/// What would be built for these targets.
///
/// # Errors
/// The store can't answer.
pub fn must_build<S: GraphStore>(store: &S, targets: &[Target]) -> Result<Plan, BuildFailure> {
    let graph = Graph::load(store, targets, BuildMode::Normal, &Hashes::default())?;
    plan_of(store, &graph)
}

fn plan_of<S: GraphStore>(store: &S, graph: &Graph) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut sources = StorePathSet::new();
    for node in &graph.nodes {
        match &node.state {
            NodeState::Valid if node.is_target => {
                plan.valid.insert(node.path.clone());
            }
            NodeState::Valid => {}
            NodeState::ToBuild(drv) => sources.extend(drv.input_srcs.iter().cloned()),
            NodeState::Failed(_) => {
                plan.unknown.insert(node.path.clone());
            }
        }
    }
    for (path, &is_valid) in &graph.opaque {
        let set = if is_valid {
            &mut plan.valid
        } else {
            &mut plan.unknown
        };
        set.insert(path.clone());
    }
    if !sources.is_empty() {
        let valid = store.valid_paths(&sources).map_err(|e| unanswered_by(&e))?;
        plan.unknown.extend(sources.difference(&valid).cloned());
    }
    let is_build = |&i: &usize| matches!(graph.nodes[i].state, NodeState::ToBuild(_));
    plan.to_build = graph
        .order()
        .into_iter()
        .filter(is_build)
        .map(|i| graph.nodes[i].path.clone())
        .collect();
    Ok(plan)
}

/// What came of the nodes of a graph, by their place; those that weren't built have none.
type Outcomes = BTreeMap<usize, BuildOutcome>;
