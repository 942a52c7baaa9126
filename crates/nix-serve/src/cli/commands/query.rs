//! `nix-store --query`.

use std::process::ExitCode;

use anyhow::Context as _;
use nix_base::{StorePath, StorePathSet};
use nix_store_core::{Error, IncludeOutputs, LocalStore, Store};

use super::order::sorted_by_references;
use crate::cli::context::{Context, Purpose};
use crate::cli::query_args::{Query, QueryArgs};
use crate::cli::output::Output;
use crate::cli::path_arg::{store_path, store_paths};

/// Prints the answer.
pub(crate) fn run(args: &QueryArgs, context: &Context) -> anyhow::Result<ExitCode> {
    if args.query == Query::Resolve {
        return resolve(args, context);
    }
    let store = context.open_store("--query", Purpose::Read)?;
    // Nix compat: one answer for each argument, in their order.
    let mut asked = Vec::new();
    for argument in &args.paths {
        let path = store_path(argument, store.layout())?;
        match args.use_output {
            true => asked.extend(outputs(&store, path)?),
            false => asked.push(path),
        }
    }
    let lines = answer(&store, args, asked)?;
    Output::of_process()?.print(&lines.concat())?;
    Ok(ExitCode::SUCCESS)
}

fn resolve(args: &QueryArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let layout = context.layout("--query")?;
    let mut output = Output::of_process()?;
    for path in store_paths(&args.paths, &layout)? {
        output.line(&layout.store_dir.print(&path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines of the answer about `asked`, each with its line break.
fn answer(
    store: &LocalStore,
    args: &QueryArgs,
    asked: Vec<StorePath>,
) -> anyhow::Result<Vec<String>> {
    let full = |path: &StorePath| format!("{}\n", store.store_dir().display(path));
    let sorted = |paths: StorePathSet| -> anyhow::Result<Vec<String>> {
        Ok(sorted_by_references(store, &paths)?
            .iter()
            .map(full)
            .collect())
    };
    let info = |path: &StorePath| {
        store
            .query_path_info(path)?
            .ok_or_else(|| Error::not_valid(store.store_dir(), path))
    };
    let mut lines = Vec::new();
    match args.query {
        Query::Outputs => {
            for path in asked {
                lines.extend(outputs(store, path)?.iter().map(full));
            }
        }
        Query::Requisites => {
            let include = match args.include_outputs {
                true => IncludeOutputs::Yes,
                false => IncludeOutputs::No,
            };
            lines = sorted(store.closure(&asked.into_iter().collect(), include)?)?;
        }
        Query::References => lines = sorted(union(&asked, |path| store.query_references(path))?)?,
        Query::Referrers => lines = sorted(union(&asked, |path| store.query_referrers(path))?)?,
        Query::ReferrersClosure => lines = sorted(referrers_closure(store, asked)?)?,
        Query::ValidDerivers => {
            let derivers = union(&asked, |path| store.query_valid_derivers(path))?;
            lines.extend(derivers.iter().map(full));
        }
        Query::Deriver => {
            for path in &asked {
                let deriver = info(path)?.info.deriver;
                // Nix compat: its words.
                lines.push(deriver.map_or("unknown-deriver\n".into(), |drv| full(&drv)));
            }
        }
        Query::Hash => {
            for path in &asked {
                lines.push(format!("{}\n", info(path)?.nar_hash.to_prefixed_nix32()));
            }
        }
        Query::Size => {
            for path in &asked {
                lines.push(format!("{}\n", info(path)?.nar_size));
            }
        }
        _ => {}
    }
    Ok(lines)
}

fn union(
    paths: &[StorePath],
    query: impl Fn(&StorePath) -> Result<StorePathSet, Error>,
) -> Result<StorePathSet, Error> {
    let mut all = StorePathSet::new();
    for path in paths {
        all.append(&mut query(path)?);
    }
    Ok(all)
}

fn referrers_closure(store: &LocalStore, asked: Vec<StorePath>) -> Result<StorePathSet, Error> {
    let mut seen: StorePathSet = asked.iter().cloned().collect();
    let mut todo = asked;
    while let Some(path) = todo.pop() {
        for referrer in store.query_referrers(&path)? {
            if seen.insert(referrer.clone()) {
                todo.push(referrer);
            }
        }
    }
    Ok(seen)
}

/// The outputs of a derivation; anything else is its own output.
fn outputs(store: &LocalStore, path: StorePath) -> anyhow::Result<Vec<StorePath>> {
    if !path.is_derivation() {
        return Ok(vec![path]);
    }
    let outputs = store
        .query_derivation_outputs(&path)
        .with_context(|| format!("cannot look up the outputs of '{path}'"))?;
    Ok(outputs.into_iter().map(|(_, path)| path).collect())
}
