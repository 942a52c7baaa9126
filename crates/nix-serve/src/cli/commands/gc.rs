//! `gc` and `delete`: collects garbage, or says what it is.

mod watch;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use nix_base::StoreDir;
use nix_store_core::LocalStore;
use nix_store_core::gc::{GcAction, GcOptions, GcPolicy, GcReport, RootOptions};
use serde_json::{Value, json};

use crate::cli::context::{Context, Purpose};
use crate::cli::gc_args::{GcArgs, GcMode};
use crate::cli::output::Output;
use crate::cli::path_arg::store_paths;
use crate::cli::report::one_line;
use crate::cli::signals::{Interrupted, SignalWatch};
use crate::cli::sizes::rendered;
use watch::Watch;

/// Does what `args` say, and prints what came of it.
pub(crate) fn run(args: &GcArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let purpose = match args.mode {
        GcMode::Delete | GcMode::Paths { .. } if !args.dry_run => Purpose::Write,
        _ => Purpose::Read,
    };
    let name = match args.mode {
        GcMode::Paths { .. } => "delete",
        _ => "gc",
    };
    let signals = SignalWatch::install(Arc::default())?;
    let store = context.open_store(name, purpose)?;
    if args.mode == GcMode::PrintRoots {
        return print_roots(&store, args.json);
    }
    let options = options(args, context, &store)?;
    let mut watch = Watch::new(context, &signals, args);
    let report = store.collect_garbage(&options, &mut watch)?;
    drop(watch);
    if args.mode == GcMode::Delete && !args.dry_run {
        remove_leftovers(context, &store);
    }
    let mut output = Output::of_process()?;
    let dir = store.store_dir();
    match args.json {
        true => output.line(&as_json(&report, dir, args).to_string())?,
        false => output.print(&as_text(&report, dir, args))?,
    }
    if let Some(saved) = report.saved_by_links {
        // Nix compat: its words.
        tracing::info!("note: hard linking is currently saving {}", rendered(saved));
    }
    if report.cancelled {
        return Err(Interrupted.into());
    }
    report.require_dead(dir)?;
    for failure in &report.failures {
        tracing::error!("{failure}");
    }
    if !report.failures.is_empty() {
        bail!("{} entries can't be deleted", report.failures.len());
    }
    Ok(ExitCode::SUCCESS)
}

fn options(args: &GcArgs, context: &Context, store: &LocalStore) -> anyhow::Result<GcOptions> {
    let action = match &args.mode {
        GcMode::PrintLive | GcMode::PrintRoots => GcAction::ReturnLive,
        GcMode::PrintDead => GcAction::ReturnDead,
        GcMode::Paths {
            paths,
            ignore_liveness,
        } => GcAction::DeleteSpecific {
            paths: store_paths(paths, store.layout())?,
            ignore_liveness: *ignore_liveness,
        },
        GcMode::Delete => GcAction::DeleteDead,
    };
    let settings = context.upkeep_settings()?;
    let mut options = GcOptions::new(action);
    options.keep_outputs = settings.keep_outputs;
    options.keep_derivations = settings.keep_derivations;
    options.max_freed = args.max_freed;
    options.dry_run = args.dry_run;
    options.policy = GcPolicy {
        unused_since: args.older_than.map(seconds_before_now),
        keep_bytes: args.keep_bytes,
        free_bytes: args.free_bytes,
        // The other limits ask for it themselves.
        least_recently_used_first: args.max_freed.is_some(),
    };
    Ok(options)
}

/// The time `age` ago, in seconds since 1970.
fn seconds_before_now(age: Duration) -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.saturating_sub(age).as_secs()).unwrap_or(i64::MAX)
}

/// Removes what servers left that died while they built.
fn remove_leftovers(context: &Context, store: &LocalStore) {
    let state = &store.layout().state;
    let removed = context.build_dir().and_then(|dir| {
        let builds = dir.unwrap_or_else(|| state.join("builds"));
        Ok(nix_build::remove_leftovers(
            state,
            &builds,
            store.store_dir(),
        )?)
    });
    match removed {
        Ok(0) => {}
        Ok(count) => tracing::info!("removed {count} build directories of dead servers"),
        Err(error) => tracing::warn!("{}", one_line(&error)),
    }
}

fn print_roots(store: &LocalStore, json: bool) -> anyhow::Result<ExitCode> {
    let roots = store.find_roots(&RootOptions::default())?;
    for note in &roots.notes {
        tracing::info!("{note}");
    }
    let dir = store.store_dir();
    let mut output = Output::of_process()?;
    if json {
        let roots = roots.roots.iter();
        let all: Vec<Value> = roots
            .map(|root| json!({ "root": root.source.to_string(), "path": dir.print(&root.target) }))
            .collect();
        output.line(&Value::from(all).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = Vec::new();
    for root in &roots.roots {
        text.extend(root.source.to_bytes());
        text.extend(format!(" -> {}\n", dir.display(&root.target)).bytes());
    }
    output.write_all(&text).context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// The full paths of the report, ascending; leftovers that aren't like paths are among them.
fn full_paths(report: &GcReport, dir: &StoreDir) -> Vec<String> {
    let paths = report.paths.iter().map(|path| dir.print(path));
    let leftovers = report.leftovers.iter().map(|name| format!("{dir}/{name}"));
    let mut all: Vec<String> = paths.chain(leftovers).collect();
    all.sort_unstable();
    all
}

fn as_text(report: &GcReport, dir: &StoreDir, args: &GcArgs) -> String {
    let mut text = String::new();
    let prints_paths = matches!(args.mode, GcMode::PrintLive | GcMode::PrintDead);
    if prints_paths || args.dry_run {
        for path in full_paths(report, dir) {
            text.push_str(&path);
            text.push('\n');
        }
    }
    if prints_paths {
        return text;
    }
    let deleted = report.deleted;
    match args.dry_run {
        true => {
            let freed = rendered(report.freed.on_disk);
            text.push_str(&format!(
                "{deleted} store paths would be deleted, {freed} would be freed\n"
            ));
        }
        // Nix compat: its words and its way to count, which scripts read.
        false => {
            let freed = rendered(report.freed.lengths);
            text.push_str(&format!("{deleted} store paths deleted, {freed} freed\n"));
        }
    }
    text
}

fn as_json(report: &GcReport, dir: &StoreDir, args: &GcArgs) -> Value {
    let paths = full_paths(report, dir);
    if matches!(args.mode, GcMode::PrintLive | GcMode::PrintDead) {
        return json!(paths);
    }
    json!({
        "dryRun": args.dry_run,
        "paths": paths,
        "deleted": report.deleted,
        "bytesFreed": report.freed.on_disk,
        "fileBytesFreed": report.freed.lengths,
        "deadPathsKept": report.kept_dead,
        "spared": report.spared,
        "reachedLimit": report.reached_limit,
        "savedByHardLinks": report.saved_by_links,
        "stillAlive": report.still_alive.as_ref().map(|path| dir.print(path)),
        "failures": report.failures,
        "seconds": {
            "locking": report.times.locking.as_secs_f64(),
            "roots": report.times.roots.as_secs_f64(),
            "marking": report.times.marking.as_secs_f64(),
            "deleting": report.times.deleting.as_secs_f64(),
            "longestHold": report.times.longest_hold.as_secs_f64(),
        },
    })
}
