//! `du`: what takes the space in a store, as a tree of what needs what, as JSON, or as a page
//! with a treemap.

mod dominators;
mod forest;
mod json;
mod page;
mod text;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use nix_store_core::db::StoreGraph;
use nix_store_core::gc::{RootNote, RootOptions};
use nix_store_core::{Error, LocalStore};

use crate::cli::context::{Context, Purpose};
use crate::cli::inspect_args::DuArgs;
use crate::cli::new_file::{Replace, write_new_file};
use crate::cli::output::Output;
use crate::cli::path_arg::store_paths;
use forest::{Forest, Top};

/// What is shown.
struct Usage<'a> {
    store: &'a LocalStore,
    graph: &'a StoreGraph,
    /// What is reached from what was asked for, or from roots.
    reached: Forest,
    /// What else is in the store; empty if paths were asked for.
    rest: Forest,
}

/// Prints what takes the space.
pub(crate) fn run(args: &DuArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("du", Purpose::Read)?;
    let graph = store.db().load_graph()?;
    let tops = match args.paths.is_empty() {
        true => roots(&store, &graph)?,
        false => named(args, &store, &graph)?,
    };
    let reached = Forest::grow(&graph, tops, &vec![true; graph.len()]);
    let rest = match args.paths.is_empty() {
        true => unreached(&graph, &reached),
        false => Forest::default(),
    };
    let usage = Usage {
        store: &store,
        graph: &graph,
        reached,
        rest,
    };
    if let Some(path) = &args.html {
        let page = page::rendered(&usage);
        write_new_file(path, page.as_bytes(), 0o644, Replace::Yes)
            .with_context(|| format!("cannot write '{}'", path.display()))?;
    }
    if args.json {
        Output::of_process()?.line(&json::rendered(&usage).to_string())?;
    } else if args.html.is_none() || args.depth.is_some() || args.width.is_some() {
        let depth = args.depth.unwrap_or(DEPTH);
        let width = args.width.unwrap_or(WIDTH);
        Output::of_process()?.print(&text::rendered(&usage, depth, width))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The paths that were asked for.
fn named(args: &DuArgs, store: &LocalStore, graph: &StoreGraph) -> anyhow::Result<Vec<Top>> {
    let paths = store_paths(&args.paths, store.layout())?;
    let mut tops = Vec::new();
    for path in &paths {
        let Some(place) = graph.find(path) else {
            return Err(Error::not_valid(store.store_dir(), path).into());
        };
        tops.push(Top {
            place,
            names: Vec::new(),
        });
    }
    Ok(tops)
}

/// What roots lead to, with their names.
fn roots(store: &LocalStore, graph: &StoreGraph) -> anyhow::Result<Vec<Top>> {
    let options = RootOptions {
        remove_stale: false,
        ..RootOptions::default()
    };
    let roots = store.find_roots(&options)?;
    for note in &roots.notes {
        // What such a root keeps counts as unneeded.
        if let RootNote::Unreadable { .. } = note {
            tracing::warn!("{note}");
        }
    }
    let mut tops: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for root in &roots.roots {
        if let Some(place) = graph.find(&root.target) {
            let names = tops.entry(place).or_default();
            names.push(root.source.to_string());
        }
    }
    let tops = tops.into_iter();
    Ok(tops.map(|(place, names)| Top { place, names }).collect())
}

/// The paths that aren't in `reached`, below those that no other of them refers to.
fn unreached(graph: &StoreGraph, reached: &Forest) -> Forest {
    let places = 0..u32::try_from(graph.len()).unwrap_or(u32::MAX);
    let is_rest: Vec<bool> = places.clone().map(|place| !reached.has(place)).collect();
    let is_top = |place: &u32| {
        let mut referrers = graph.referrers(*place).iter();
        is_rest[*place as usize]
            && !referrers.any(|other| other != place && is_rest[*other as usize])
    };
    let tops = places.filter(is_top).map(|place| Top {
        place,
        names: Vec::new(),
    });
    Forest::grow(graph, tops.collect(), &is_rest)
}

/// How many levels are printed.
const DEPTH: usize = 2;
/// How many lines there are below each path.
const WIDTH: usize = 10;
