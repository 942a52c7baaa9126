//! Verifying and repairing as `nix-store` does, in its words.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use nix_base::{StorePath, StorePathSet};
use nix_store_core::{
    CheckContents, Error, LocalStore, Remedy, RepairError, VerifyOptions, VerifyPhase,
    VerifyProblem, VerifyWatch,
};

use super::report::in_one_line;
use crate::cli::context::{Context, Purpose};
use crate::cli::path_arg::store_path;
use crate::cli::repair_sources::substituters;
use crate::cli::report::{print_line, visible};
use crate::cli::signals::SignalWatch;
use crate::cli::store_args::StoreVerifyArgs;

/// `nix-store --verify`.
pub(in crate::cli) fn verify_store(
    args: StoreVerifyArgs,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let store = context.open_store("--verify", Purpose::Write)?;
    let signals = SignalWatch::install(Arc::default())?;
    let mut sources = match args.repair {
        true => substituters(store.store_dir(), context, &signals)?,
        false => Vec::new(),
    };
    let options = VerifyOptions {
        contents: match args.check_contents {
            true => CheckContents::Yes,
            false => CheckContents::No,
        },
        remedy: match args.repair {
            true => Remedy::Repair,
            false => Remedy::Tidy,
        },
        ..VerifyOptions::default()
    };
    tracing::info!("reading the Nix store...");
    let mut watch = Words {
        signals: &signals,
        real_store: &store.layout().real_store,
        tells_phases: true,
    };
    let report = store.verify_with(&options, &mut sources, &mut watch)?;
    signals.check()?;
    if report.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    tracing::warn!("not all store errors were fixed");
    Ok(ExitCode::FAILURE)
}

/// Reads these paths and puts right what is damaged; false if something stays so.
pub(in crate::cli) fn mend(
    paths: StorePathSet,
    store: &LocalStore,
    context: &Context,
    signals: &SignalWatch,
) -> anyhow::Result<bool> {
    let mut sources = substituters(store.store_dir(), context, signals)?;
    let options = VerifyOptions {
        contents: CheckContents::Yes,
        remedy: Remedy::Repair,
        paths: Some(paths),
        ..VerifyOptions::default()
    };
    let mut watch = Words {
        signals,
        real_store: &store.layout().real_store,
        tells_phases: false,
    };
    let report = store.verify_with(&options, &mut sources, &mut watch)?;
    signals.check()?;
    Ok(report.is_clean())
}

/// `nix-store --verify-path`.
pub(in crate::cli) fn verify_paths(
    paths: &[PathBuf],
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let store = context.open_store("--verify-path", Purpose::Read)?;
    let signals = SignalWatch::install(Arc::default())?;
    let mut status = ExitCode::SUCCESS;
    // Nix compat: one after the other, as they were given; one that isn't valid is the end.
    for path in paths {
        let path = store_path(path, store.layout())?;
        tracing::debug!("checking path '{}'...", store.store_dir().display(&path));
        let options = VerifyOptions {
            contents: CheckContents::Yes,
            paths: Some([path].into()),
            threads: 1,
            ..VerifyOptions::default()
        };
        let mut watch = Words {
            signals: &signals,
            real_store: &store.layout().real_store,
            tells_phases: false,
        };
        if !store.verify_with(&options, &mut [], &mut watch)?.is_clean() {
            status = ExitCode::FAILURE;
        }
        signals.check()?;
    }
    Ok(status)
}

/// `nix-store --repair-path`.
pub(in crate::cli) fn repair_paths(
    paths: &[PathBuf],
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let store = context.open_store("--repair-path", Purpose::Write)?;
    let signals = SignalWatch::install(Arc::default())?;
    let mut sources = None;
    for path in paths {
        let path = store_path(path, store.layout())?;
        let full = store.store_dir().print(&path);
        if !store.is_valid(&path)? {
            anyhow::bail!("path '{full}' is not valid");
        }
        let sources = match &mut sources {
            Some(sources) => sources,
            none => none.insert(substituters(store.store_dir(), context, &signals)?),
        };
        if let Err(error) = store.repair_path(&path, sources) {
            signals.check()?;
            say_why(&error);
            anyhow::bail!("cannot repair path '{full}'");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says why there is no good copy, if that isn't for want of sources that have one.
fn say_why(error: &RepairError) {
    if !matches!(error, RepairError::NoSource | RepairError::NowhereFound) {
        tracing::warn!("{}", in_one_line(error));
    }
}

/// Says what real Nix says.
struct Words<'w> {
    signals: &'w SignalWatch,
    real_store: &'w Path,
    tells_phases: bool,
}

impl Words<'_> {
    /// Real Nix names the file by its real path.
    fn why_unreadable(&self, error: &Error) -> String {
        match error {
            Error::Nar {
                source: nix_nar::Error::UnsupportedType { path },
                ..
            } => visible(&format!(
                "file '{}' has an unsupported type",
                self.real_store.join(path).display()
            )),
            error => in_one_line(error),
        }
    }
}

impl VerifyWatch for Words<'_> {
    fn begins(&mut self, phase: VerifyPhase) {
        match phase {
            _ if !self.tells_phases => {}
            VerifyPhase::Existence => tracing::info!("checking path existence..."),
            VerifyPhase::Links => tracing::info!("checking link hashes..."),
            VerifyPhase::Contents => tracing::info!("checking store hashes..."),
            _ => {}
        }
    }

    fn looks_at(&mut self, path: &StorePath) {
        tracing::trace!("checking '{path}'");
    }

    fn found(&mut self, problem: &VerifyProblem) {
        match problem {
            // What happens to it is said then.
            VerifyProblem::NoHash { .. } | VerifyProblem::WrongSize { expected: 0, .. } => {}
            VerifyProblem::Disappeared {
                has_valid_referrers: false,
                ..
            } => {}
            VerifyProblem::Unreadable { source, .. } => {
                print_line(&format!("error: {}", self.why_unreadable(source)));
            }
            problem => print_line(&in_one_line(problem)),
        }
    }

    fn repaired(&mut self, problem: &VerifyProblem) {
        match problem {
            VerifyProblem::NoHash { path } => {
                tracing::info!("fixing missing hash on '{path}'");
            }
            VerifyProblem::WrongSize { path, actual, .. } => {
                tracing::info!("updating size field on '{path}' to {actual}");
            }
            VerifyProblem::LinkModified { link, .. }
            | VerifyProblem::LinkUnreadable { link, .. } => {
                tracing::info!("removed link '{}'", link.display());
            }
            _ => {}
        }
    }

    fn forgot(&mut self, problem: &VerifyProblem) {
        if let Some(path) = problem.path() {
            print_line(&format!(
                "path '{path}' disappeared, removing from database..."
            ));
        }
    }

    fn cannot_repair(&mut self, problem: &VerifyProblem, error: &RepairError) {
        say_why(error);
        if let Some(path) = problem.path() {
            print_line(&format!("error: cannot repair path '{path}'"));
        }
    }

    fn is_cancelled(&mut self) -> bool {
        self.signals.check().is_err()
    }
}
