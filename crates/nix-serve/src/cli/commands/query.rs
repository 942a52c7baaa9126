//! `nix-store --query`.

mod binding;
mod closure;
mod graphs;
mod lookup;
mod paths;
mod roots;
mod tree;

use std::cell::RefCell;
use std::process::ExitCode;

use nix_base::StorePath;
use nix_store_core::{Error, LocalStore, Store};

use crate::cli::build_args::{BuildArgs, Links, Print};
use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::path_arg::store_path;
use crate::cli::query_args::{Query, QueryArgs};
pub(in crate::cli::commands) use binding::read_derivation;
use graphs::Language;
use lookup::{Fault, Lookup, ask};

/// Prints the answer.
pub(crate) fn run(args: &QueryArgs, context: &Context) -> anyhow::Result<ExitCode> {
    if args.query == Query::Resolve {
        return resolve(args, context);
    }
    if args.force_realise {
        let built = super::build::run(&realisation(args, context), context)?;
        if built != ExitCode::SUCCESS {
            return Ok(built);
        }
    }
    let store = context.open_store("--query", Purpose::Read)?;
    // Nix compat: one answer for each argument, in their order.
    let mut asked = Vec::new();
    for argument in &args.paths {
        let path = store_path(argument, store.layout())?;
        match args.use_output && knows_outputs(&args.query) {
            true => asked.extend(paths::outputs(&store, path)?),
            false => asked.push(path),
        }
    }
    let mut answer = Vec::new();
    let result = write(&store, args, context, &asked, &mut answer);
    // What was found before something went wrong is printed all the same.
    std::io::Write::write_all(&mut Output::of_process()?, &answer)
        .map_err(|error| anyhow::Error::new(error).context("cannot write to stdout"))?;
    result.map(|()| ExitCode::SUCCESS)
}

fn resolve(args: &QueryArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let layout = context.layout("--query")?;
    let mut output = Output::of_process()?;
    for argument in &args.paths {
        let path = store_path(argument, &layout)?;
        output.line(&layout.store_dir.print(&path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What `--force-realise` builds.
fn realisation(args: &QueryArgs, context: &Context) -> BuildArgs {
    BuildArgs {
        targets: args.paths.clone(),
        on: None,
        check: false,
        repair: false,
        dry_run: false,
        links: Links::None,
        print: Print::Nothing,
        ignore_unknown: false,
        show_log: !context.global().no_build_output,
        warn_of_no_root: context.global().warns_of_no_root,
    }
}

/// Whether `--use-output` has an effect on a query.
fn knows_outputs(query: &Query) -> bool {
    !matches!(
        query,
        Query::Outputs
            | Query::Binding(_)
            | Query::Deriver
            | Query::ValidDerivers
            | Query::Tree
            | Query::Graph
            | Query::GraphMl
    )
}

fn write(
    store: &LocalStore,
    args: &QueryArgs,
    context: &Context,
    asked: &[StorePath],
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let dir = store.store_dir();
    match &args.query {
        Query::Outputs => {
            for path in asked {
                paths::print(dir, &paths::outputs(store, path.clone())?, out);
            }
        }
        Query::Binding(name) => binding::print(store, name, asked, out)?,
        Query::Deriver | Query::Hash | Query::Size => of_each(store, &args.query, asked, out)?,
        Query::Roots => roots::print(store, context, asked, out)?,
        Query::Tree => drawn(store, out, |lookup, out| {
            tree::draw(lookup, dir, asked, out)
        })?,
        Query::Graph => drawn(store, out, |lookup, out| {
            graphs::write(lookup, dir, Language::Dot, asked, out)
        })?,
        Query::GraphMl => drawn(store, out, |lookup, out| {
            graphs::write(lookup, dir, Language::GraphMl, asked, out)
        })?,
        query => paths::print(
            dir,
            &paths::find(store, query, args.include_outputs, asked)?,
            out,
        ),
    }
    Ok(())
}

/// What `draw` writes, also if it fails half-way.
fn drawn(
    store: &LocalStore,
    out: &mut Vec<u8>,
    draw: impl Fn(&mut dyn Lookup, &mut Vec<u8>) -> Result<(), Fault>,
) -> anyhow::Result<()> {
    let out = RefCell::new(out);
    ask(store, |lookup| {
        let mut out = out.borrow_mut();
        out.clear();
        draw(lookup, &mut out)
    })
}

/// A line for each path.
fn of_each(
    store: &LocalStore,
    query: &Query,
    asked: &[StorePath],
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    for path in asked {
        let info = store
            .query_path_info(path)?
            .ok_or_else(|| Error::not_valid(store.store_dir(), path))?;
        let text = match query {
            Query::Hash => info.nar_hash.to_prefixed_nix32(),
            Query::Size => info.nar_size.to_string(),
            _ => match &info.deriver {
                Some(deriver) => store.store_dir().print(deriver),
                // Nix compat: its words.
                None => "unknown-deriver".to_owned(),
            },
        };
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests;
