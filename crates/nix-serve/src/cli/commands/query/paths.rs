//! Queries whose answer is a list of paths.

use anyhow::Context as _;
use nix_base::{StoreDir, StorePath, StorePathSet};
use nix_store_core::{Error, LocalStore};

use super::closure::{closure, references_first};
use super::lookup::{Edges, Fault, Lookup, ask};
use crate::cli::query_args::Query;

/// The answer to `query` about `asked`.
pub(super) fn find(
    store: &LocalStore,
    query: &Query,
    include_outputs: bool,
    asked: &[StorePath],
) -> anyhow::Result<Vec<StorePath>> {
    let dir = store.store_dir();
    if *query == Query::ValidDerivers {
        let mut derivers = StorePathSet::new();
        for path in asked {
            derivers.append(&mut store.query_valid_derivers(path)?);
        }
        return ask(store, |lookup| sorted(lookup, &derivers));
    }
    ask(store, |lookup| {
        reach(lookup, dir, query, include_outputs, asked)
    })
}

/// Those of `paths` that are valid, after what they refer to.
fn sorted(lookup: &mut dyn Lookup, paths: &StorePathSet) -> Result<Vec<StorePath>, Fault> {
    let mut places = Vec::new();
    for path in paths {
        places.extend(lookup.find(path)?);
    }
    let sorted = references_first(lookup, places)?;
    let paths = sorted.into_iter().map(|place| lookup.path(place).clone());
    Ok(paths.collect())
}

/// Where references lead to from `asked`, or come from.
pub(super) fn reach(
    lookup: &mut dyn Lookup,
    dir: &StoreDir,
    query: &Query,
    include_outputs: bool,
    asked: &[StorePath],
) -> Result<Vec<StorePath>, Fault> {
    let mut unknown = StorePathSet::new();
    let mut starts = Vec::new();
    for path in asked {
        match lookup.find(path)? {
            Some(place) => starts.push(place),
            None if is_about_referrers(query) => drop(unknown.insert(path.clone())),
            None => return Err(Error::not_valid(dir, path).into()),
        }
    }
    let places = reached(lookup, query, include_outputs, starts)?;
    let sorted = references_first(lookup, places)?;
    // Nix compat: a path that isn't valid is at least in its own closure.
    let mut found = Vec::with_capacity(sorted.len());
    if *query == Query::ReferrersClosure {
        found.extend(unknown);
    }
    found.extend(sorted.into_iter().map(|place| lookup.path(place).clone()));
    Ok(found)
}

fn is_about_referrers(query: &Query) -> bool {
    matches!(query, Query::Referrers | Query::ReferrersClosure)
}

fn reached(
    lookup: &mut dyn Lookup,
    query: &Query,
    include_outputs: bool,
    starts: Vec<u32>,
) -> Result<Vec<u32>, Fault> {
    let edges = match query {
        Query::Requisites if include_outputs => &[Edges::References, Edges::Outputs][..],
        Query::Requisites => &[Edges::References],
        Query::ReferrersClosure => &[Edges::Referrers],
        query => {
            let edges = match query {
                Query::Referrers => Edges::Referrers,
                _ => Edges::References,
            };
            let mut found = Vec::new();
            for start in starts {
                lookup.follow(edges, start, &mut found)?;
            }
            return Ok(found);
        }
    };
    closure(lookup, starts, edges)
}

/// The outputs of a derivation; anything else is its own output.
pub(super) fn outputs(store: &LocalStore, path: StorePath) -> anyhow::Result<Vec<StorePath>> {
    if !path.is_derivation() {
        return Ok(vec![path]);
    }
    let outputs = store
        .query_derivation_outputs(&path)
        .with_context(|| format!("cannot look up the outputs of '{path}'"))?;
    let mut paths: Vec<StorePath> = outputs.into_iter().map(|(_, path)| path).collect();
    // Nix compat: since 2.4 in the order of their paths, before that of their names.
    paths.sort_unstable();
    Ok(paths)
}

/// Adds a line for each path to `out`.
pub(super) fn print(dir: &StoreDir, paths: &[StorePath], out: &mut Vec<u8>) {
    let mut text = String::with_capacity(paths.len() * LINE);
    for path in paths {
        dir.append_to(path, &mut text);
        text.push('\n');
    }
    out.append(&mut text.into_bytes());
}

/// About as long as a line is.
const LINE: usize = 80;
