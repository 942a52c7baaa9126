//! Building on another machine: inputs go there, results come back, and what is made on the
//! way stays there.
//!
//! Each derivation is sent by itself, in the order of their needs: that is what servers of
//! every release can do, whether or not they can build whole graphs. A server of ours that
//! doesn't take our word gets proofs with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use nix_base::{BuildOptions, BuildResult, BuildStatus, OutputName, StorePath, StorePathSet};
use nix_build::BuildFailure;
use nix_build::goal::Plan;
use nix_drv::{BasicDerivation, Derivation};
use nix_store_core::{IncludeOutputs, Lock, Store};

use super::graph::Graph;
use super::proofs::Proofs;
use super::report::{Report, say_plan};
use super::results::Built;
use super::{Ending, Job};
use crate::cli::address::Address;
use crate::cli::commands::ends::{Importer, Source};
use crate::cli::commands::order::infos_by_references;
use crate::cli::progress::Report as CopyReport;
use crate::cli::remote::{Compress, connect};
use crate::client::{CopyFromOptions, CopyFromPlan, CopyToPlan, RemoteStore, Substitute};
use crate::proto::request::QueryValidPaths;
use crate::proto::{BuildTarget, Feature, WantedOutputs};

pub(super) fn build(
    job: &Job<'_>,
    address: &str,
    targets: &[BuildTarget],
) -> anyhow::Result<Ending> {
    let Address::Remote(_, parsed) = Address::parse(address, job.context.environment())? else {
        bail!(
            "'{address}' is not a machine to build on: use ssh://HOST or exec:COMMAND, such as \
             'exec:nix-serve serve --write --store DIR'"
        );
    };
    if job.args.check {
        bail!("option '--check' compares with what is built here: it doesn't go with '--on'");
    }
    let drvs: Vec<StorePath> = targets
        .iter()
        .filter(|target| matches!(target, BuildTarget::Outputs { .. }))
        .map(|target| target.path().clone())
        .collect();
    let graph = Graph::read(&job.store, &drvs)?;
    let dir = job.store.store_dir();
    let connection = connect(&parsed, dir, Compress::AsAddressed, job.context, &job.watch)?;
    let remote = Remote {
        job,
        wanted: wanted(targets, &graph)?,
        graph,
        store: RemoteStore::new(connection),
        proofs: None,
        there: StorePathSet::new(),
        here: StorePathSet::new(),
    };
    remote.run(targets)
}

/// The outputs of each derivation among the targets.
fn wanted(
    targets: &[BuildTarget],
    graph: &Graph,
) -> anyhow::Result<Vec<(StorePath, BTreeSet<OutputName>)>> {
    let mut all = Vec::new();
    for target in targets {
        let BuildTarget::Outputs { drv, outputs } = target else {
            continue;
        };
        let existing = graph.drvs.get(drv).map(|drv| &drv.outputs);
        let existing: BTreeSet<OutputName> = existing
            .into_iter()
            .flat_map(|o| o.keys().cloned())
            .collect();
        let names = match outputs {
            WantedOutputs::All => existing,
            WantedOutputs::Names(names) => match names.difference(&existing).next() {
                // Nix compat: its words.
                Some(name) => bail!("derivation '{drv}' does not have an output named '{name}'"),
                None => names.clone(),
            },
        };
        all.push((drv.clone(), names));
    }
    Ok(all)
}

struct Remote<'a> {
    job: &'a Job<'a>,
    graph: Graph,
    wanted: Vec<(StorePath, BTreeSet<OutputName>)>,
    store: RemoteStore,
    /// Only for servers that demand them.
    proofs: Option<Proofs>,
    /// What is known to be valid there, and stays so until the connection ends.
    there: StorePathSet,
    /// Outputs that are valid here.
    here: StorePathSet,
}

impl Remote<'_> {
    fn run(mut self, targets: &[BuildTarget]) -> anyhow::Result<Ending> {
        self.look_around(targets)?;
        let demands_proofs = self.store.connection().has_feature(Feature::Proof)?;
        let plan = self.plan(demands_proofs)?;
        if self.job.args.dry_run {
            return Ok(Ending::Planned(plan));
        }
        if demands_proofs {
            let dir = self.job.store.store_dir();
            let proofs = Proofs::prepare(&self.graph, &plan.to_build, &mut self.store, dir)?;
            self.proofs = Some(proofs);
        }
        say_plan(self.job.store.store_dir(), &plan);
        let report = Arc::new(Report::new(
            self.job.context,
            self.job.args,
            self.job.store.store_dir(),
            0,
        ));
        report.count(plan.to_build.len());
        if let Some((status, summary)) = self.build_all(&plan.to_build, &report)? {
            report.say_failures(&summary);
            return Ok(Ending::Failed(status));
        }
        let built = self.built(targets)?;
        self.fetch(&built)?;
        self.store.finish();
        Ok(Ending::Done(built))
    }

    /// Asks both stores what they have of the outputs that are known beforehand.
    fn look_around(&mut self, targets: &[BuildTarget]) -> anyhow::Result<()> {
        let mut paths = self.graph.known_paths();
        paths.extend(targets.iter().filter_map(|target| match target {
            BuildTarget::Path(path) => Some(path.clone()),
            BuildTarget::Outputs { .. } => None,
        }));
        let lock = match self.job.store.is_read_only() {
            true => Lock::No,
            false => Lock::Yes,
        };
        self.here = self.job.store.query_valid_paths(&paths, lock)?;
        self.there = self.store.query_valid_paths(&QueryValidPaths {
            lock: true,
            substitute: false,
            paths,
        })?;
        Ok(())
    }

    fn plan(&self, demands_proofs: bool) -> anyhow::Result<Plan> {
        let mut available: StorePathSet = self.here.union(&self.there).cloned().collect();
        let mut wanted = self.wanted.clone();
        if demands_proofs {
            // Results that are here already are good enough, inputs that are may not be.
            wanted.retain(|(drv, outputs)| self.graph.is_missing(drv, outputs, &available));
            available = self.acceptable()?;
            available.extend(self.there.iter().cloned());
        }
        Ok(Plan {
            to_build: self.graph.missing(&wanted, &available),
            ..Plan::default()
        })
    }

    /// What is valid here and can be shown to be what it should: by its content, or maybe by
    /// a signature. A server that demands proofs takes nothing else from us, and has to
    /// build it.
    fn acceptable(&self) -> anyhow::Result<StorePathSet> {
        let mut acceptable = StorePathSet::new();
        let store = &self.job.store;
        store.query_path_infos(&self.here, &mut |info| {
            if info.ca.is_some() || !info.sigs.is_empty() {
                acceptable.insert(info.path.clone());
            }
            Ok(())
        })?;
        Ok(acceptable)
    }

    /// Builds what can be built; status and message of what couldn't.
    fn build_all(
        &mut self,
        drvs: &[StorePath],
        report: &Report,
    ) -> anyhow::Result<Option<(u8, String)>> {
        let mut failed = BTreeSet::new();
        let mut outcome: Option<(u8, String)> = None;
        for drv in drvs {
            let result = match self.failed_inputs(drv, &failed) {
                0 => {
                    report.started(drv);
                    self.build_one(drv)?
                }
                count => BuildResult::failure(
                    BuildStatus::DependencyFailed,
                    // Nix compat: its words.
                    format!(
                        "{count} dependencies of derivation '{}' failed to build",
                        self.job.store.store_dir().display(drv)
                    ),
                ),
            };
            report.finished(drv, &result);
            if result.status.is_success() {
                continue;
            }
            failed.insert(drv.clone());
            let before = outcome.map_or(0, |(status, _)| status);
            outcome = Some((combined(before, exit_code(&result)), result.error_msg));
            if !self.job.config.keep_going {
                break;
            }
        }
        Ok(outcome)
    }

    fn failed_inputs(&self, drv: &StorePath, failed: &BTreeSet<StorePath>) -> usize {
        let inputs = self.graph.drvs.get(drv).map(|drv| drv.input_drvs.keys());
        let inputs = inputs.into_iter().flatten();
        inputs.filter(|input| failed.contains(*input)).count()
    }

    fn build_one(&mut self, path: &StorePath) -> anyhow::Result<BuildResult> {
        let dir = self.job.store.store_dir().clone();
        let drv = self
            .graph
            .drvs
            .get(path)
            .context("a derivation of the graph is missing")?;
        let graph = &self.graph;
        let resolved = drv.resolve(&dir, |drv, output| {
            Ok::<_, nix_drv::error::ReadError>(graph.output(drv, output).cloned())
        })?;
        let path_there = match drv.must_be_resolved()? {
            // Its paths follow from what is sent.
            true => path_of(&resolved, &dir)?,
            false => path.clone(),
        };
        let proof = match &self.proofs {
            Some(proofs) => proofs.pack(graph, drv)?,
            None => None,
        };
        self.send_inputs(&resolved.input_srcs)?;
        let limits = self.job.config.limits;
        let options = BuildOptions {
            max_silent_time: limits.max_silent_time.try_into().unwrap_or(u32::MAX),
            build_timeout: limits.timeout.try_into().unwrap_or(u32::MAX),
            max_log_size: limits.max_log_size,
            keep_failed: self.job.config.keep_failed,
            ..BuildOptions::default()
        };
        let result = match &proof {
            Some(proof) => {
                self.store
                    .build_derivation_with_proof(&path_there, &resolved, &options, proof)?
            }
            None => self
                .store
                .build_derivation(&path_there, &resolved, &options)?,
        };
        if result.status.is_success() {
            if let Some(proofs) = &mut self.proofs {
                proofs.built(path, proof.as_ref())?;
            }
            self.note_outputs(path, &resolved, &result)?;
        }
        Ok(result)
    }

    /// Remembers where the outputs are now: old servers tell only paths that are no news.
    fn note_outputs(
        &mut self,
        path: &StorePath,
        resolved: &BasicDerivation,
        result: &BuildResult,
    ) -> anyhow::Result<()> {
        let dir = self.job.store.store_dir().clone();
        let mut outputs = resolved.known_outputs(&dir)?;
        for (name, realisation) in &result.built_outputs {
            if resolved.outputs.contains_key(name) && !outputs.iter().any(|(n, _)| n == name) {
                outputs.push((name.clone(), realisation.out_path.clone()));
            }
        }
        for (name, output) in outputs {
            self.there.insert(output.clone());
            self.graph.realise(path, name, output);
        }
        Ok(())
    }

    /// Sends what is needed and not there, with all that it refers to.
    fn send_inputs(&mut self, inputs: &StorePathSet) -> anyhow::Result<()> {
        let wanted: StorePathSet = inputs.difference(&self.there).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let (store, watch) = (&self.job.store, &self.job.watch);
        let closure = store.closure(&wanted, IncludeOutputs::No)?;
        let lock = match store.is_read_only() {
            true => Lock::No,
            false => Lock::Yes,
        };
        store.query_valid_paths(&closure, lock)?;
        let infos = infos_by_references(store, &closure)?;
        let connection = self.store.connection();
        let plan = CopyToPlan::make(connection, infos, Substitute::No)?;
        if !plan.missing.is_empty() {
            let to = format!("to '{}'", connection.name());
            let report = CopyReport::new(self.job.context, store.store_dir(), to);
            plan.send(connection, &mut Source::new(store, watch), &report)?;
        }
        self.there.extend(closure);
        Ok(())
    }

    fn built(&self, targets: &[BuildTarget]) -> anyhow::Result<Vec<Built>> {
        let mut wanted = self.wanted.iter();
        targets
            .iter()
            .map(|target| match target {
                BuildTarget::Path(path) => Ok(Built {
                    drv: None,
                    outputs: vec![(None, path.clone())],
                }),
                BuildTarget::Outputs { drv, .. } => {
                    let names = wanted.next().into_iter().flat_map(|(_, names)| names);
                    let outputs = names
                        .map(|name| match self.graph.output(drv, name) {
                            Some(path) => Ok((Some(name.clone()), path.clone())),
                            None => Err(anyhow!(
                                "the server didn't say what output '{name}' of '{}' came out as",
                                self.job.store.store_dir().display(drv)
                            )),
                        })
                        .collect::<anyhow::Result<_>>()?;
                    Ok(Built {
                        drv: Some(drv.clone()),
                        outputs,
                    })
                }
            })
            .collect()
    }

    /// Copies the results here.
    fn fetch(&mut self, built: &[Built]) -> anyhow::Result<()> {
        let paths: StorePathSet = built
            .iter()
            .flat_map(|target| target.outputs.iter().map(|(_, path)| path))
            .filter(|path| !self.here.contains(path))
            .cloned()
            .collect();
        if paths.is_empty() {
            return Ok(());
        }
        let options = CopyFromOptions {
            no_recursive: false,
            include_outputs: false,
            trusted_keys: self.job.context.settings()?.demanded_keys,
        };
        let store = &self.job.store;
        let mut importer = Importer::new(store, &self.job.watch);
        let connection = self.store.connection();
        let plan = CopyFromPlan::make(connection, &paths, &options, &mut importer)?;
        let from = format!("from '{}'", connection.name());
        let report = CopyReport::new(self.job.context, store.store_dir(), from);
        plan.fetch(connection, &mut importer, &report)?;
        Ok(())
    }
}

/// The path that a derivation without input derivations has.
fn path_of(drv: &BasicDerivation, dir: &nix_base::StoreDir) -> anyhow::Result<StorePath> {
    let drv = Derivation {
        basic: drv.clone(),
        input_drvs: Default::default(),
    };
    Ok(drv.store_path(dir)?)
}

/// What real Nix ends with. A wrong hash is an output that is refused, and has a code of its
/// own, which only the message tells.
fn exit_code(result: &BuildResult) -> u8 {
    let mut failure = BuildFailure::new(result.status, "");
    failure.hash_mismatch = result.status == BuildStatus::OutputRejected
        && result.error_msg.contains("hash mismatch in fixed-output");
    failure.exit_code()
}

/// The exit status of two failures: each adds its bits to what real Nix calls a failed build.
fn combined(one: u8, other: u8) -> u8 {
    match (one >= FAILED_BUILD, other >= FAILED_BUILD) {
        (true, true) => one | other,
        (true, false) => one,
        (false, _) => other,
    }
}

/// The bits of every failed build.
const FAILED_BUILD: u8 = 0x60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_failures_are_combined_bit_by_bit() {
        assert_eq!(combined(0, 1), 1);
        assert_eq!(combined(1, 100), 100);
        assert_eq!(combined(100, 1), 100);
        assert_eq!(combined(100, 102), 102);
        assert_eq!(combined(101, 104), 109);
    }

    #[test]
    fn a_wrong_hash_has_a_status_of_its_own() {
        let rejected = |message: &str| {
            let result = BuildResult::failure(BuildStatus::OutputRejected, message);
            exit_code(&result)
        };
        assert_eq!(
            rejected("hash mismatch in fixed-output derivation 'x'"),
            102
        );
        assert_eq!(rejected("missing output"), 1);
    }
}
