//! `optimise`: makes files with the same contents one.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix_base::StorePath;
use nix_store_core::{OptimiseOptions, OptimiseProgress, OptimiseReport};
use serde_json::json;

use crate::cli::context::{Context, Purpose};
use crate::cli::optimise_args::OptimiseArgs;
use crate::cli::output::Output;
use crate::cli::signals::SignalWatch;
use crate::cli::sizes::rendered;

/// Says on stderr what was freed.
pub(crate) fn run(args: &OptimiseArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let watch = SignalWatch::install(Arc::default())?;
    let purpose = match args.dry_run {
        true => Purpose::Read,
        false => Purpose::Write,
    };
    let store = context.open_store("optimise", purpose)?;
    let options = OptimiseOptions {
        dry_run: args.dry_run,
        threads: args.threads,
    };
    let report = store.optimise(
        &options,
        &Watcher {
            watch: &watch,
            paths: AtomicU64::new(0),
        },
    )?;
    watch.check()?;
    if args.json {
        Output::of_process()?.line(&as_json(&report, args.dry_run).to_string())?;
    }
    let freed = rendered(report.freed_bytes);
    let count = report.linked;
    // Nix compat: its words, which scripts read.
    match args.dry_run {
        true => tracing::info!("{freed} would be freed by hard-linking {count} files"),
        false => tracing::info!("{freed} freed by hard-linking {count} files"),
    }
    if report.full > 0 {
        tracing::warn!(
            "{} files have as many links already as the file system allows",
            report.full
        );
    }
    Ok(ExitCode::SUCCESS)
}

struct Watcher<'w> {
    watch: &'w SignalWatch,
    paths: AtomicU64,
}

impl OptimiseProgress for Watcher<'_> {
    fn path(&self, path: &StorePath) -> bool {
        let number = self.paths.fetch_add(1, Ordering::Relaxed);
        tracing::debug!("optimising path {} ('{path}')", number + 1);
        self.watch.check().is_ok()
    }

    fn go_on(&self) -> bool {
        self.watch.check().is_ok()
    }
}

fn as_json(report: &OptimiseReport, dry_run: bool) -> serde_json::Value {
    let texts = |paths: &[std::path::PathBuf]| -> Vec<String> {
        let texts = paths.iter().map(|path| path.display().to_string());
        texts.collect()
    };
    json!({
        "dryRun": dry_run,
        "files": report.files,
        "hashedFiles": report.hashed,
        "hashedBytes": report.hashed_bytes,
        "linkedFiles": report.linked,
        "freedBytes": report.freed_bytes,
        "freedDiskBytes": report.freed_disk_bytes,
        "newLinks": report.new_links,
        "atLinkLimit": report.full,
        "unreadableFiles": report.unreadable,
        "suspiciousFiles": texts(&report.suspicious),
        "corruptedLinks": texts(&report.corrupted_links),
    })
}
