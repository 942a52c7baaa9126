//! Building in the local store.

use std::collections::BTreeMap;
use std::sync::Arc;

use nix_base::{OutputName, StorePath, StorePathSet};
use nix_build::Requester;
use nix_build::goal::{Outcome, Target, Wanted};
use nix_build::request::{BuildLimits, BuildMode};

use super::report::Report;
use super::results::Built;
use super::{Ending, Job};
use crate::builds::{self, GraphRequest, LocalBuilds};
use crate::proto::BuildTarget;

pub(super) fn build(job: &Job<'_>, targets: Vec<BuildTarget>) -> anyhow::Result<Ending> {
    let mut targets: Vec<Target> = targets.into_iter().map(builds::target).collect();
    if job.args.ignore_unknown {
        let unknown = builds::plan(&job.store, &targets)?.unknown;
        targets.retain(|target| !unknown.contains(target.path()));
    }
    if job.args.dry_run {
        return Ok(Ending::Planned(builds::plan(&job.store, &targets)?));
    }
    let builds = LocalBuilds::new(job.config.clone(), &job.store, None)?;
    let report = Arc::new(Report::new(
        job.context,
        job.args,
        job.store.store_dir(),
        job.config.log_lines,
    ));
    let outcome = builds.build_graph(&GraphRequest {
        targets: &targets,
        mode: match job.args.check {
            true => BuildMode::Check,
            false => BuildMode::Normal,
        },
        limits: BuildLimits::default(),
        keep_failed: job.config.keep_failed,
        requester: &Requester::default(),
        slots: None,
        keep_going: job.config.keep_going,
        cancel: &job.cancel,
        log: &|drv| report.log_target(drv),
        on_event: &|event| report.event(&event),
        on_end: &|_| {},
    });
    job.watch.check()?;
    if outcome.status != 0 {
        report.say_failures(&outcome.message);
        return Ok(Ending::Failed(outcome.status));
    }
    let built = built(&outcome);
    pin(job, &built)?;
    Ok(Ending::Done(built))
}

fn built(outcome: &Outcome) -> Vec<Built> {
    let results = outcome.results.iter().zip(&outcome.outputs);
    results
        .map(|((target, _), there)| match target {
            Target::Opaque(path) => Built {
                drv: None,
                outputs: vec![(None, path.clone())],
            },
            Target::Built { drv, outputs } => Built {
                drv: Some(drv.clone()),
                outputs: wanted(outputs, there),
            },
        })
        .collect()
}

fn wanted(
    outputs: &Wanted,
    there: &BTreeMap<OutputName, StorePath>,
) -> Vec<(Option<OutputName>, StorePath)> {
    let all = there.iter();
    all.filter(|(name, _)| match outputs {
        Wanted::All => true,
        Wanted::Names(names) => names.contains(name),
    })
    .map(|(name, path)| (Some(name.clone()), path.clone()))
    .collect()
}

/// The builds' own connections to the store are closed by now, and their roots gone.
fn pin(job: &Job<'_>, built: &[Built]) -> anyhow::Result<()> {
    let paths: StorePathSet = built
        .iter()
        .flat_map(|target| target.outputs.iter().map(|(_, path)| path.clone()))
        .collect();
    Ok(job.store.add_temp_roots(&paths)?)
}
