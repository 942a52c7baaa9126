//! The trees as JSON: a flat list, since they are deeper than what readers of JSON accept.

use nix_store_core::db::StoreGraph;
use serde_json::{Value, json};

use super::Usage;
use super::forest::{Forest, closure_size};

/// All paths, each after the one below which it stands.
pub(super) fn rendered(usage: &Usage<'_>) -> Value {
    let mut paths = Vec::new();
    let mut scratch = Scratch::default();
    for (forest, is_reached) in [(&usage.reached, true), (&usage.rest, false)] {
        for &place in forest.places() {
            paths.push(entry(usage, forest, place, is_reached, &mut scratch));
        }
    }
    json!({
        "reachedSize": usage.reached.size(),
        "unreachedSize": usage.rest.size(),
        "paths": paths,
    })
}

#[derive(Default)]
struct Scratch {
    seen: Vec<u32>,
    stamp: u32,
}

fn entry(
    usage: &Usage<'_>,
    forest: &Forest,
    place: u32,
    is_reached: bool,
    scratch: &mut Scratch,
) -> Value {
    let graph: &StoreGraph = usage.graph;
    let print = |place: u32| usage.store.store_dir().print(graph.path(place));
    let mut entry = json!({
        "path": print(place),
        "below": forest.parent(place).map(print),
        "ownSize": graph.nar_size(place),
        "exclusiveSize": forest.exclusive(place),
        "reached": is_reached,
    });
    // Of what no root leads to, there may be too many tops to follow each of them.
    if is_reached && let Some(top) = forest.top(place) {
        scratch.stamp += 1;
        let size = closure_size(graph, place, &mut scratch.seen, scratch.stamp);
        entry["closureSize"] = size.into();
        entry["roots"] = top.names.clone().into();
    }
    entry
}
