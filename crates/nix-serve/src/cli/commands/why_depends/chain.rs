//! Ways through the graph of references, from one path to another.

use std::collections::VecDeque;

use nix_store_core::db::StoreGraph;

/// The paths on the way, and where each goes on to.
#[derive(Debug)]
pub(super) struct Ways {
    /// From the first path on, each before what it leads to first.
    places: Vec<u32>,
    /// Where each path of the store leads to, if it is on the way.
    next: Vec<Vec<u32>>,
}

impl Ways {
    /// A shortest way, or all ways; `None` if there is none.
    pub(super) fn find(graph: &StoreGraph, from: u32, to: u32, all: bool) -> Option<Self> {
        // How far each path is from `to`.
        let mut distances = vec![u32::MAX; graph.len()];
        distances[to as usize] = 0;
        let mut queue = VecDeque::from([to]);
        while let Some(place) = queue.pop_front() {
            for &referrer in graph.referrers(place) {
                if distances[referrer as usize] == u32::MAX {
                    distances[referrer as usize] = distances[place as usize] + 1;
                    queue.push_back(referrer);
                }
            }
        }
        if distances[from as usize] == u32::MAX {
            return None;
        }
        let mut ways = Self {
            places: Vec::new(),
            next: vec![Vec::new(); graph.len()],
        };
        let mut seen = vec![false; graph.len()];
        seen[from as usize] = true;
        let mut queue = VecDeque::from([from]);
        while let Some(place) = queue.pop_front() {
            ways.places.push(place);
            let next = onwards(graph, &distances, place, to, all);
            for &place in &next {
                if !std::mem::replace(&mut seen[place as usize], true) {
                    queue.push_back(place);
                }
            }
            ways.next[place as usize] = next;
        }
        Some(ways)
    }

    /// All paths on the way.
    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    /// Where the path at `place` leads to, the nearest to the end first.
    pub(super) fn after(&self, place: u32) -> &[u32] {
        &self.next[place as usize]
    }
}

fn onwards(graph: &StoreGraph, distances: &[u32], place: u32, to: u32, all: bool) -> Vec<u32> {
    if place == to {
        return Vec::new();
    }
    let leads = |&&next: &&u32| next != place && distances[next as usize] != u32::MAX;
    let mut next: Vec<u32> = graph
        .references(place)
        .iter()
        .filter(leads)
        .copied()
        .collect();
    next.sort_unstable_by_key(|&next| (distances[next as usize], next));
    next.dedup();
    if !all {
        next.truncate(1);
    }
    next
}
