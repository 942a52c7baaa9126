//! What a client is told in the end.

use std::collections::{BTreeMap, BTreeSet};

use nix_base::{BuildResult, BuildStatus, StorePath};

use super::Scheduler;
use super::run::Done;
use crate::active::BuildOutcome;
use crate::failure::BuildFailure;
use crate::goal::graph::{Graph, NodeState};
use crate::goal::{Event, GraphStore, Outcome, Target};

/// Says of each target what came of it.
pub(super) fn report<S: GraphStore>(
    scheduler: &Scheduler<'_, S>,
    store: &S,
    targets: &[Target],
    graph: &Graph,
    mut done: Done,
) -> Outcome {
    let cancelled = scheduler.cancel.is_cancelled();
    let failures = |done: &Done| done.outcomes.values().filter(|o| !o.is_success()).count();
    let failed = failures(&done);
    if !cancelled {
        fail_dependents(scheduler, store, graph, &mut done);
    }
    let mut outcome = Outcome {
        results: Vec::new(),
        outputs: Vec::new(),
        messages: Vec::new(),
        status: 0,
        message: String::new(),
        cancelled,
        built: done.built,
        failed,
    };
    for target in targets {
        let (result, outputs) = match target {
            Target::Opaque(path) => (opaque_result(store, graph, path), BTreeMap::new()),
            Target::Built { drv, .. } => {
                let i = graph.find(drv).expect("all targets were loaded");
                let outputs = done.outputs.get(i).cloned().unwrap_or_default();
                (built_result(store, graph, &done, i), outputs)
            }
        };
        let is_there = result.status.is_success();
        outcome.results.push((target.clone(), result));
        let outputs = if is_there { outputs } else { BTreeMap::new() };
        outcome.outputs.push(outputs);
    }
    summarise(store, &done, &mut outcome);
    outcome
}

/// What all targets are told when nothing could be begun.
pub(super) fn nothing_done<S>(
    scheduler: &Scheduler<'_, S>,
    targets: &[Target],
    failure: &BuildFailure,
) -> Outcome {
    let result = |target: &Target| (target.clone(), failure.to_result());
    Outcome {
        results: targets.iter().map(result).collect(),
        outputs: vec![BTreeMap::new(); targets.len()],
        messages: Vec::new(),
        status: 1,
        message: failure.message.clone(),
        cancelled: scheduler.cancel.is_cancelled(),
        built: 0,
        failed: 0,
    }
}

/// Fails whatever depends on a failure, from the inputs upwards.
fn fail_dependents<S: GraphStore>(
    scheduler: &Scheduler<'_, S>,
    store: &S,
    graph: &Graph,
    done: &mut Done,
) {
    for i in graph.order() {
        if done.outcomes.contains_key(&i) {
            continue;
        }
        let node = &graph.nodes[i];
        let failed = |input: &usize| {
            let outcome = done.outcomes.get(input);
            outcome.is_some_and(|outcome| !outcome.is_success())
        };
        let count = graph
            .inputs_to_build(node)
            .iter()
            .filter(|n| failed(n))
            .count();
        if count == 0 {
            continue;
        }
        let path = store.store_dir().print(&node.path);
        let outcome: BuildOutcome = BuildFailure::new(
            BuildStatus::DependencyFailed,
            format!("{count} dependencies of derivation '{path}' failed to build"),
        )
        .into();
        (scheduler.on_event)(Event::Finished {
            drv: &node.path,
            outcome: &outcome,
            is_target: node.is_target,
        });
        done.outcomes.insert(i, outcome);
    }
}

fn opaque_result<S: GraphStore>(store: &S, graph: &Graph, path: &StorePath) -> BuildResult {
    match graph.opaque.get(path) {
        Some(true) => BuildResult::failure(BuildStatus::AlreadyValid, ""),
        _ => BuildResult::failure(
            BuildStatus::NoSubstituters,
            format!("build of '{}' failed", store.store_dir().print(path)),
        ),
    }
}

fn built_result<S: GraphStore>(store: &S, graph: &Graph, done: &Done, i: usize) -> BuildResult {
    if let Some(outcome) = done.outcomes.get(&i) {
        return outcome.result.clone();
    }
    let node = &graph.nodes[i];
    if let NodeState::Valid = node.state {
        return BuildResult::failure(BuildStatus::AlreadyValid, "");
    }
    let path = store.store_dir().print(&node.path);
    let why = match graph.order().contains(&i) {
        true => format!("derivation '{path}' was not built, as something else failed"),
        false => format!("derivation '{path}' depends on itself"),
    };
    BuildResult::failure(BuildStatus::MiscFailure, why)
}

/// Status and message of the whole.
///
/// Nix compat: the status is the exit code that real Nix would end with. Each failed build
/// adds its bits, that of a dependency as well; without any it is 1.
fn summarise<S: GraphStore>(store: &S, done: &Done, outcome: &mut Outcome) {
    let is_failed = |(_, result): &&(Target, BuildResult)| !result.status.is_success();
    let failed: Vec<_> = outcome.results.iter().filter(is_failed).collect();
    let paths: BTreeSet<&StorePath> = failed.iter().map(|(target, _)| target.path()).collect();
    if paths.is_empty() {
        return;
    }
    outcome.message = match failed.first() {
        Some((_, result)) if paths.len() == 1 => result.error_msg.clone(),
        _ => {
            let quoted = paths.iter().map(|path| store.store_dir().print(path));
            let quoted: Vec<String> = quoted.map(|path| format!("'{path}'")).collect();
            format!("build of {} failed", quoted.join(", "))
        }
    };
    if paths.len() > 1 {
        let built = |(target, _): &&&(Target, BuildResult)| matches!(target, Target::Built { .. });
        let messages = failed.iter().filter(built);
        outcome.messages = messages
            .map(|(_, result)| result.error_msg.clone())
            .collect();
    }
    let codes = done.outcomes.values().map(|outcome| outcome.exit_code);
    let mask = codes
        .filter(|code| code & 0x60 == 0x60)
        .fold(0, |a, b| a | b);
    outcome.status = if mask == 0 { 1 } else { mask };
}
