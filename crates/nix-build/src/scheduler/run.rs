//! The threads that build.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix_base::{BuildStatus, OutputName, StorePath};

use super::prepare::{InputPaths, Prepared, paths_of, prepare, record};
use super::{Outcomes, Scheduler};
use crate::active::BuildOutcome;
use crate::cancel::Cancel;
use crate::failure::{BuildFailure, Result};
use crate::goal::graph::{Graph, Node, NodeState, unanswered_by};
use crate::goal::hashes::Hashes;
use crate::goal::{Event, GraphStore, Job};

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) outcomes: Outcomes,
    /// Where the outputs of each node are.
    pub(super) outputs: Vec<BTreeMap<OutputName, StorePath>>,
    /// Builds that ran and succeeded.
    pub(super) built: usize,
}

/// What the threads share.
struct Run<'r, 's, S> {
    scheduler: &'r Scheduler<'s, S>,
    graph: &'r Graph,
    hashes: &'r Hashes,
    /// Ends all builds: the client is gone, or one has failed.
    cancel: Cancel,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// By name, so that the order doesn't depend on chance.
    ready: BTreeSet<(String, usize)>,
    /// Inputs that aren't there, of each node.
    left: Vec<usize>,
    dependents: Vec<Vec<usize>>,
    running: usize,
    /// No more builds begin.
    stopped: bool,
    finished: bool,
    done: Done,
}

/// Builds all that can be built.
pub(super) fn run<S: GraphStore>(
    scheduler: &Scheduler<'_, S>,
    store: &S,
    graph: &Graph,
    hashes: &Hashes,
) -> Result<Done> {
    let failed = |error| BuildFailure::because("cannot start the builds", &error);
    let run = Run {
        scheduler,
        graph,
        hashes,
        cancel: Cancel::new().map_err(failed)?,
        state: Mutex::new(State::new(scheduler, graph)),
        changed: Condvar::new(),
    };
    let most = usize::try_from(scheduler.max_jobs.clamp(1, MOST_THREADS)).unwrap_or(1);
    let more = graph.order().len().min(most).saturating_sub(1);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .spawn_scoped(scope, || run.watch_client())
            .map_err(failed)?;
        for _ in 0..more {
            // With fewer threads it takes longer, that is all.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || run.work_apart());
        }
        run.work(store);
        run.lock().finished = true;
        run.changed.notify_all();
        Ok::<(), BuildFailure>(())
    })?;
    let state = run.state.into_inner();
    Ok(state.unwrap_or_else(PoisonError::into_inner).done)
}

impl State {
    fn new<S>(scheduler: &Scheduler<'_, S>, graph: &Graph) -> Self {
        let count = graph.nodes.len();
        let mut state = Self {
            ready: BTreeSet::new(),
            left: vec![0; count],
            dependents: vec![Vec::new(); count],
            running: 0,
            stopped: false,
            finished: false,
            done: Done::default(),
        };
        for (i, node) in graph.nodes.iter().enumerate() {
            state.done.outputs.push(node.outputs.clone());
            let inputs = graph.inputs_to_build(node);
            state.left[i] = inputs.len();
            for input in inputs {
                state.dependents[input].push(i);
            }
            match &node.state {
                NodeState::Valid => {}
                NodeState::ToBuild(_) if state.left[i] == 0 => {
                    state.ready.insert(ready_key(graph, i));
                }
                NodeState::ToBuild(_) => {}
                NodeState::Failed(failure) => {
                    state.stopped |= !scheduler.keep_going;
                    let mut outcome = BuildOutcome::from(failure.to_result());
                    outcome.exit_code = failure.exit_code();
                    state.done.outcomes.insert(i, outcome);
                }
            }
        }
        state
    }

    fn is_over(&self) -> bool {
        self.running == 0 && (self.stopped || self.ready.is_empty())
    }
}

fn ready_key(graph: &Graph, i: usize) -> (String, usize) {
    (graph.nodes[i].path.name().to_string(), i)
}

impl<S: GraphStore> Run<'_, '_, S> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the builds when the client goes.
    fn watch_client(&self) {
        let mut state = self.lock();
        while !state.finished {
            if self.scheduler.cancel.is_cancelled() {
                state.stopped = true;
                self.cancel.cancel();
                self.changed.notify_all();
            }
            let waited = self.changed.wait_timeout(state, POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Builds with a connection to the store of its own, once there is something to do.
    fn work_apart(&self) {
        let mut store = None;
        while let Some(i) = self.next() {
            if store.is_none() {
                store = match (self.scheduler.open)() {
                    Ok(store) => Some(store),
                    Err(error) => {
                        self.finish(i, Err(unanswered_by(&error)));
                        continue;
                    }
                };
            }
            if let Some(store) = &store {
                self.build(store, i);
            }
        }
    }

    fn work(&self, store: &S) {
        while let Some(i) = self.next() {
            self.build(store, i);
        }
    }

    /// Waits for something to build; `None` once there is nothing any more.
    fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.is_over() {
                return None;
            }
            if !state.stopped
                && let Some((_, i)) = state.ready.pop_first()
            {
                state.running += 1;
                return Some(i);
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn build(&self, store: &S, i: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.try_build(store, i)));
        self.finish(
            i,
            outcome.unwrap_or_else(|_| Err(BuildFailure::misc("internal error"))),
        );
    }

    fn try_build(&self, store: &S, i: usize) -> Result<BuildOutcome> {
        let node = &self.graph.nodes[i];
        let NodeState::ToBuild(drv) = &node.state else {
            return Err(BuildFailure::misc("nothing to build"));
        };
        let inputs = self.input_paths(drv)?;
        let prepared = prepare(self.scheduler, store, self.hashes, node, drv, &inputs)?;
        let (request, resolved_from) = match prepared {
            Prepared::Done(outcome) => return Ok(*outcome),
            Prepared::Build {
                request,
                resolved_from,
            } => (*request, resolved_from),
        };
        (self.scheduler.on_event)(Event::Started(&node.path));
        let job = Job {
            request,
            cancel: &self.cancel,
        };
        let outcome = (self.scheduler.build)(store, job);
        if let Some(hash) = resolved_from
            && outcome.is_success()
        {
            record(store, hash, drv, &outcome.result)?;
        }
        Ok(outcome)
    }

    /// Where the wanted outputs of the inputs are.
    fn input_paths(&self, drv: &nix_drv::Derivation) -> Result<InputPaths> {
        let state = self.lock();
        let mut paths = InputPaths::new();
        for (input, wanted) in &drv.input_drvs {
            let known = self.graph.find(input).map(|i| &state.done.outputs[i]);
            for output in &wanted.outputs {
                let path = known.and_then(|known| known.get(output)).ok_or_else(|| {
                    BuildFailure::misc(format!("output '{output}' of '{input}' is not known"))
                })?;
                paths.insert((input.clone(), output.clone()), path.clone());
            }
        }
        Ok(paths)
    }

    fn finish(&self, i: usize, outcome: Result<BuildOutcome>) {
        let node = &self.graph.nodes[i];
        let mut outcome = outcome.unwrap_or_else(BuildOutcome::from);
        let mut state = self.lock();
        state.running -= 1;
        if outcome.is_success() {
            let paths = paths_of(&outcome.result);
            state.done.outputs[i].extend(paths);
            if let Some(failure) = unknown_output(node, &state.done.outputs[i]) {
                outcome = failure.into();
            }
        }
        if outcome.is_success() {
            state.done.built += usize::from(outcome.result.status == BuildStatus::Built);
            for dependent in std::mem::take(&mut state.dependents[i]) {
                state.left[dependent] -= 1;
                if state.left[dependent] == 0 {
                    state.ready.insert(ready_key(self.graph, dependent));
                }
            }
        } else if self.cancel.is_cancelled() {
            // It was ended because of another, and has nothing to say.
            drop(state);
            self.changed.notify_all();
            return;
        } else if !self.scheduler.keep_going {
            state.stopped = true;
            self.cancel.cancel();
        }
        state.done.outcomes.insert(i, outcome.clone());
        drop(state);
        self.changed.notify_all();
        (self.scheduler.on_event)(Event::Finished {
            drv: &node.path,
            outcome: &outcome,
            is_target: node.is_target,
        });
    }
}

/// A success that doesn't say where everything is.
fn unknown_output(node: &Node, outputs: &BTreeMap<OutputName, StorePath>) -> Option<BuildFailure> {
    let unknown = node
        .wanted
        .iter()
        .find(|name| !outputs.contains_key(*name))?;
    Some(BuildFailure::misc(format!(
        "the build of '{}' doesn't say where its output '{unknown}' is",
        node.path
    )))
}

/// How often the client is looked for.
const POLL: Duration = Duration::from_millis(25);
/// More builds than this at a time are done one after the other.
const MOST_THREADS: u32 = 256;
