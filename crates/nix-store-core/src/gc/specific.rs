//! Which of the paths that somebody wants to delete can go.

use std::collections::BTreeSet;
use std::ffi::CString;

use nix_base::{StorePath, StorePathSet};

use super::entries::Leftover;
use super::mark::Marks;
use crate::db::StoreGraph;

/// What can go of the paths that were named.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The places of valid paths.
    pub(super) dead: BTreeSet<u32>,
    /// What isn't valid, whether it is there or not.
    pub(super) leftovers: Vec<Leftover>,
    /// The first one that has to stay.
    pub(super) still_alive: Option<StorePath>,
}

/// Chooses those of `paths` that nothing keeps but each other, as far as the first that has
/// to stay, and what refers to them.
// Nix compat: it deletes one after the other, and ends where that fails.
pub(super) fn choose(
    graph: &StoreGraph,
    marks: &Marks,
    paths: &StorePathSet,
    is_temp_root: impl Fn(&StorePath) -> bool,
) -> Chosen {
    let dead = deletable(graph, marks, paths);
    let mut chosen = Chosen::default();
    let mut todo = Vec::new();
    for path in paths {
        match graph.find(path) {
            Some(place) if dead.contains(&place) => todo.push(place),
            None if !is_temp_root(path) => {
                let name = CString::new(path.base_name()).unwrap_or_default();
                chosen.leftovers.push(Leftover::of(&name));
            }
            _ => {
                chosen.still_alive = Some(path.clone());
                break;
            }
        }
    }
    while let Some(place) = todo.pop() {
        if chosen.dead.insert(place) {
            todo.extend(marks.users(graph, place));
        }
    }
    chosen
}

/// The places of those of `paths` that nothing keeps but each other: what isn't alive, and
/// has no user that stays.
fn deletable(graph: &StoreGraph, marks: &Marks, paths: &StorePathSet) -> BTreeSet<u32> {
    let named = paths.iter().filter_map(|path| graph.find(path));
    let mut dead: BTreeSet<u32> = named.filter(|&place| !marks.is_alive(place)).collect();
    let mut todo: Vec<u32> = dead.iter().copied().collect();
    while let Some(place) = todo.pop() {
        let users = marks.users(graph, place);
        let stays = |user: &u32| *user != place && !dead.contains(user);
        if dead.contains(&place) && users.iter().any(stays) {
            dead.remove(&place);
            // What it uses has a user that stays, now.
            todo.extend(marks.used(graph, place));
        }
    }
    dead
}
