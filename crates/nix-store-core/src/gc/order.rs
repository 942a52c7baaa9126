//! In which order dead paths go: each before what it refers to.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::db::StoreGraph;

/// The places of `dead`, each after all of those that refer to it; `uses` has the time of
/// the last use of each, in the same order, if the least recently used are to go first.
///
/// With times, each place comes with the time of the most recent use of it and of all that
/// refers to it, directly or not. Paths that refer to each other in a circle, which no store
/// should have, are left out.
pub(super) fn referrers_first(
    graph: &StoreGraph,
    dead: &[u32],
    uses: Option<&[i64]>,
) -> Vec<(u32, i64)> {
    let mut index = vec![NOTHING; graph.len()];
    for (at, &place) in (0..).zip(dead) {
        index[place as usize] = at;
    }
    let others = |place: u32, list: &[u32]| -> Vec<u32> {
        let dead = list.iter().filter(|&&other| other != place);
        dead.map(|&other| index[other as usize])
            .filter(|&at| at != NOTHING)
            .collect()
    };
    let mut waiting: Vec<usize> = dead
        .iter()
        .map(|&place| others(place, graph.referrers(place)).len())
        .collect();
    let mut last_use: Vec<i64> = match uses {
        Some(uses) => uses.to_vec(),
        None => vec![0; dead.len()],
    };
    // Without times, the last row goes first: neighbours in the database go together, and
    // what was registered later seldom is referred to by what was earlier.
    let entry = |at: u32, last_use: i64| {
        let row = graph.row_id(dead[at as usize]);
        (Reverse(last_use), row, at)
    };
    let mut ready = BinaryHeap::new();
    for (at, _) in (0..).zip(dead).filter(|&(at, _)| waiting[at as usize] == 0) {
        ready.push(entry(at, last_use[at as usize]));
    }
    let mut order = Vec::with_capacity(dead.len());
    while let Some((Reverse(time), _, at)) = ready.pop() {
        let place = dead[at as usize];
        order.push((place, time));
        for other in others(place, graph.references(place)) {
            let slot = other as usize;
            last_use[slot] = last_use[slot].max(time);
            waiting[slot] -= 1;
            if waiting[slot] == 0 {
                ready.push(entry(other, last_use[slot]));
            }
        }
    }
    order
}

const NOTHING: u32 = u32::MAX;

#[cfg(test)]
mod tests;
