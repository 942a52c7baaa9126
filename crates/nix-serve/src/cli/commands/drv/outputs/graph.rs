//! `drv outputs --recursive`: the output paths of a whole graph.
//!
//! ```text
//! this thread: read, parse, hash as input of others ──pending──▶ other thread: hash for the
//!                                                    channel     output paths, compare, print
//! ```
//!
//! Either hash takes about as long, and nothing waits for the second one.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::{anyhow, bail};
use nix_base::StoreDir;
use nix_drv::{ComputedOutput, HashMemo, PendingOutputs, visit_graph};
use serde_json::{Map, Value};

use super::super::files::Files;
use crate::cli::drv_args::OutputsArgs;
use crate::cli::output::Output;

/// Prints a line for each output, inputs first.
pub(super) fn run(args: &OutputsArgs, mut files: Files) -> anyhow::Result<ExitCode> {
    let roots = args.files.iter().map(|file| files.locate(file));
    let roots = roots.collect::<anyhow::Result<Vec<_>>>()?;
    let dir = files.store_dir().clone();
    let finished = thread::scope(|scope| {
        let (pending, from_walk) = sync_channel(MOST_BATCHES);
        let finisher = scope.spawn(|| finish(from_walk, args, &dir));
        let mut memo = HashMemo::new();
        let mut batch = Vec::with_capacity(BATCH);
        let walked = visit_graph(
            roots,
            &dir,
            &mut memo,
            |path| files.text(path),
            |drv| {
                batch.push(drv.pending_outputs()?);
                if batch.len() == BATCH {
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                    // If nobody takes it any more, the other thread has the reason.
                    let _ = pending.send(full);
                }
                Ok(())
            },
        );
        let _ = pending.send(batch);
        drop(pending);
        let finished = finisher
            .join()
            .map_err(|_| anyhow!("a thread ended unexpectedly"))?;
        walked?;
        finished
    })?;
    match finished {
        Some(objects) => super::super::show::print(&Value::Object(objects)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn finish(
    pending: Receiver<Vec<PendingOutputs>>,
    args: &OutputsArgs,
    dir: &StoreDir,
) -> anyhow::Result<Option<Map<String, Value>>> {
    let mut output = Output::of_process()?;
    let mut lines = String::new();
    let mut objects = Map::new();
    for batch in pending {
        lines.clear();
        for drv in batch {
            let outputs = drv.finish(dir)?;
            if args.check {
                check(&drv, &outputs, dir)?;
            }
            if args.json {
                let object = outputs.into_iter().map(|output| {
                    let path = output.computed.map(|path| dir.print(&path));
                    (output.name.to_string(), path.into())
                });
                objects.insert(dir.print(&drv.drv_path), Value::Object(object.collect()));
                continue;
            }
            for output in outputs {
                write!(lines, "{}!{} ", dir.display(&drv.drv_path), output.name)?;
                match &output.computed {
                    Some(path) => writeln!(lines, "{}", dir.display(path))?,
                    None => lines.push_str("not known before it is built\n"),
                }
            }
        }
        output.print(&lines)?;
    }
    Ok(args.json.then_some(objects))
}

fn check(
    drv: &PendingOutputs,
    outputs: &[ComputedOutput<'_>],
    dir: &StoreDir,
) -> anyhow::Result<()> {
    for output in outputs {
        if output.stated.is_some() && output.stated != output.computed {
            let print = |path: &Option<_>| {
                let path = path.as_ref().map(|path| dir.print(path));
                path.unwrap_or_else(|| "none".into())
            };
            bail!(
                "derivation '{}' states '{}' as its output '{}', should be '{}'",
                dir.display(&drv.drv_path),
                print(&output.stated),
                output.name,
                print(&output.computed),
            );
        }
    }
    Ok(())
}

/// How many derivations go to the other thread at once, since waking it costs.
const BATCH: usize = 64;
/// How many batches may wait there.
const MOST_BATCHES: usize = 4;
