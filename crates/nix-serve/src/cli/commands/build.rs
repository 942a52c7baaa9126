//! `build`, and `nix-store --realise`: makes outputs of derivations, here or elsewhere.

mod graph;
mod local;
mod proofs;
mod remote;
mod report;
mod results;
mod targets;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use nix_build::goal::Plan;
use nix_build::{BuildConfig, Cancel};
use nix_store_core::{IncludeOutputs, LocalStore, Store};

use crate::cli::build_args::BuildArgs;
use crate::cli::context::{Context, Purpose};
use crate::cli::signals::SignalWatch;
use results::Built;

/// What every way of building needs.
struct Job<'a> {
    args: &'a BuildArgs,
    context: &'a Context,
    config: BuildConfig,
    store: LocalStore,
    watch: SignalWatch,
    cancel: Cancel,
}

/// How it went.
enum Ending {
    /// Everything is there.
    Done(Vec<Built>),
    /// Nothing was to be done but to tell what would be.
    Planned(Plan),
    /// Something failed, and that was said.
    Failed(u8),
}

/// Builds, makes links and prints results.
pub(crate) fn run(args: &BuildArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let watch = SignalWatch::install(Arc::default())?;
    let purpose = match args.dry_run {
        true => Purpose::Read,
        false => Purpose::Write,
    };
    let command = match args.warn_of_no_root {
        true => "nix-store --realise",
        false => "build",
    };
    let store = context.open_store(command, purpose)?;
    let cancel = Cancel::new()?;
    let canceller = cancel.clone();
    watch.on_signal(move || canceller.cancel());
    let job = Job {
        args,
        context,
        config: context.build_config()?,
        store,
        watch,
        cancel,
    };
    let targets = targets::parse(&args.targets, job.store.layout())?;
    let ending = match &args.on {
        None => local::build(&job, targets),
        Some(address) => remote::build(&job, address, &targets),
    };
    // Whatever a signal broke, the signal is the reason.
    job.watch.check()?;
    match ending? {
        Ending::Done(built) => {
            if args.repair {
                repair(&job, &built)?;
            }
            results::deliver(args, &job.store, &built)?;
        }
        Ending::Planned(plan) => report::say_plan(job.store.store_dir(), &plan),
        Ending::Failed(status) => return Ok(ExitCode::from(status)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts right what is damaged in what was asked for, and in all that it refers to.
fn repair(job: &Job<'_>, built: &[Built]) -> anyhow::Result<()> {
    let outputs = built.iter().flat_map(|built| &built.outputs);
    let paths = outputs.map(|(_, path)| path.clone()).collect();
    let closure = job.store.closure(&paths, IncludeOutputs::No)?;
    if !super::verify::mend(closure, &job.store, job.context, &job.watch)? {
        bail!("not all damaged paths could be repaired");
    }
    Ok(())
}
