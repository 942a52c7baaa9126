//! `verify`: compares the database with what is on disk, and puts right what is wrong.

mod nix_words;
mod report;

use std::process::ExitCode;
use std::sync::Arc;

use nix_store_core::{
    CheckContents, Journal, LocalStore, Remedy, RepairError, VerifyOptions, VerifyProblem,
    VerifyWatch,
};

use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::path_arg::store_paths;
use crate::cli::repair_sources::named;
use crate::cli::signals::SignalWatch;
use crate::cli::verify_args::VerifyArgs;

pub(in crate::cli) use nix_words::{mend, repair_paths, verify_paths, verify_store};

/// Says on stderr what is wrong, and what came of it.
pub(crate) fn run(args: &VerifyArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let purpose = match args.repair {
        true => Purpose::Write,
        false => Purpose::Read,
    };
    let store = context.open_store("verify", purpose)?;
    let signals = SignalWatch::install(Arc::default())?;
    let options = options(args, &store)?;
    let mut sources = named(&args.sources, store.store_dir(), context, &signals)?;
    // Nix compat: its words.
    tracing::info!("reading the Nix store...");
    let mut watch = Watch {
        store: &store,
        signals: &signals,
        reads: args.check_contents,
    };
    let report = store.verify_with(&options, &mut sources, &mut watch)?;
    if args.json {
        Output::of_process()?.line(&report::json(&report))?;
    }
    signals.check()?;
    if !report.is_clean() {
        // Nix compat: the verdict that scripts look for.
        anyhow::bail!("not all store errors were fixed");
    }
    tracing::info!("{}", report::summary(&report));
    Ok(ExitCode::SUCCESS)
}

fn options(args: &VerifyArgs, store: &LocalStore) -> anyhow::Result<VerifyOptions> {
    let paths = store_paths(&args.paths, store.layout())?;
    Ok(VerifyOptions {
        contents: match args.check_contents {
            true => CheckContents::Yes,
            false => CheckContents::No,
        },
        metadata: args.check_metadata,
        paths: Some(paths).filter(|paths| !paths.is_empty()),
        remedy: match args.repair {
            true => Remedy::Repair,
            false => Remedy::Report,
        },
        threads: 0,
        rate: args.rate,
        journal: match args.resume {
            true => Journal::Resume,
            false => Journal::Fresh,
        },
    })
}

/// Tells the user.
struct Watch<'w> {
    store: &'w LocalStore,
    signals: &'w SignalWatch,
    reads: bool,
}

impl VerifyWatch for Watch<'_> {
    fn looks_at(&mut self, path: &nix_base::StorePath) {
        if self.reads {
            let dir = self.store.store_dir();
            tracing::debug!("checking contents of '{}'", dir.display(path));
        }
    }

    fn found(&mut self, problem: &VerifyProblem) {
        tracing::error!("{}", report::in_one_line(problem));
    }

    fn repaired(&mut self, problem: &VerifyProblem) {
        match problem.path() {
            Some(path) => tracing::info!("repaired path '{path}'"),
            None => tracing::info!("repaired: {}", report::in_one_line(problem)),
        }
    }

    fn forgot(&mut self, problem: &VerifyProblem) {
        if let Some(path) = problem.path() {
            tracing::info!("removed path '{path}' from the database");
        }
    }

    fn cannot_repair(&mut self, problem: &VerifyProblem, error: &RepairError) {
        let why = report::in_one_line(error);
        match problem.path() {
            Some(path) => tracing::warn!("cannot repair path '{path}': {why}"),
            None => tracing::warn!("cannot repair: {why}"),
        }
    }

    fn is_cancelled(&mut self) -> bool {
        self.signals.check().is_err()
    }
}
