//! Which of the paths that somebody wants to delete can go.

use std::collections::BTreeSet;

use nix_base::StorePathSet;

use super::mark::Marks;
use crate::db::StoreGraph;

/// The places of those of `paths` that nothing keeps but each other.
///
/// A path is kept if it is alive, or if something refers to it that stays.
pub(super) fn deletable(graph: &StoreGraph, marks: &Marks, paths: &StorePathSet) -> BTreeSet<u32> {
    let named = paths.iter().filter_map(|path| graph.find(path));
    let mut dead: BTreeSet<u32> = named.filter(|&place| !marks.is_alive(place)).collect();
    loop {
        let kept: Vec<u32> = dead
            .iter()
            .copied()
            .filter(|&place| {
                let mut users = marks.users(graph, place).into_iter();
                users.any(|user| user != place && !dead.contains(&user))
            })
            .collect();
        if kept.is_empty() {
            return dead;
        }
        for place in kept {
            dead.remove(&place);
        }
    }
}
