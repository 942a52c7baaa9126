//! What would go with what: trees in which each path stands below the one without which nothing
//! would need it.

use nix_store_core::db::StoreGraph;

use super::dominators::{Dominators, OUTSIDE, UNREACHED, dominators};

/// A path from which others are reached.
#[derive(Debug, Clone)]
pub(super) struct Top {
    pub(super) place: u32,
    /// The roots that lead to it.
    pub(super) names: Vec<String>,
}

/// Trees.
#[derive(Debug, Default)]
pub(super) struct Forest {
    /// Those from which the others are reached, ascending.
    pub(super) tops: Vec<Top>,
    dominators: Dominators,
    /// The size of each path with all that stands below it.
    exclusive: Vec<u64>,
    /// What stands below each path, the largest first.
    children: Vec<Vec<u32>>,
    /// What stands below nothing.
    trunks: Vec<u32>,
}

impl Forest {
    /// The forest of all that is reached from `tops` through what is allowed.
    pub(super) fn grow(graph: &StoreGraph, mut tops: Vec<Top>, is_allowed: &[bool]) -> Self {
        tops.sort_unstable_by_key(|top| top.place);
        let starts: Vec<u32> = tops.iter().map(|top| top.place).collect();
        let dominators = dominators(
            graph.len(),
            &starts,
            |place| graph.references(place),
            |place| graph.referrers(place),
            is_allowed,
        );
        let mut forest = Self {
            tops,
            dominators,
            exclusive: vec![0; graph.len()],
            children: vec![Vec::new(); graph.len()],
            trunks: Vec::new(),
        };
        forest.add_up(graph);
        forest
    }

    fn add_up(&mut self, graph: &StoreGraph) {
        for &place in self.dominators.order.iter().rev() {
            let with = self.exclusive[place as usize].saturating_add(graph.nar_size(place));
            self.exclusive[place as usize] = with;
            match self.dominators.parents[place as usize] {
                OUTSIDE | UNREACHED => self.trunks.push(place),
                parent => {
                    let sum = &mut self.exclusive[parent as usize];
                    *sum = sum.saturating_add(with);
                    self.children[parent as usize].push(place);
                }
            }
        }
        let exclusive = &self.exclusive;
        let largest_first = |&place: &u32| (std::cmp::Reverse(exclusive[place as usize]), place);
        for children in &mut self.children {
            children.sort_unstable_by_key(largest_first);
        }
        self.trunks.sort_unstable_by_key(largest_first);
    }

    /// Whether the path is reached.
    pub(super) fn has(&self, place: u32) -> bool {
        self.dominators.parents[place as usize] != UNREACHED
    }

    /// All paths, each after the one below which it stands.
    pub(super) fn places(&self) -> &[u32] {
        &self.dominators.order
    }

    /// The path below which the one at `place` stands.
    pub(super) fn parent(&self, place: u32) -> Option<u32> {
        let parent = self.dominators.parents[place as usize];
        (parent != OUTSIDE && parent != UNREACHED).then_some(parent)
    }

    /// What stands below nothing, the largest first.
    pub(super) fn trunks(&self) -> &[u32] {
        &self.trunks
    }

    /// What stands below a path, the largest first.
    pub(super) fn children(&self, place: u32) -> &[u32] {
        &self.children[place as usize]
    }

    /// What would go with a path: itself and all below it.
    pub(super) fn exclusive(&self, place: u32) -> u64 {
        self.exclusive[place as usize]
    }

    /// The size of all.
    pub(super) fn size(&self) -> u64 {
        let trunks = self.trunks.iter().map(|&place| self.exclusive(place));
        trunks.fold(0, u64::saturating_add)
    }

    /// The roots that lead to a path; `None` if it isn't a top.
    pub(super) fn top(&self, place: u32) -> Option<&Top> {
        let found = self.tops.binary_search_by_key(&place, |top| top.place);
        found.ok().map(|index| &self.tops[index])
    }
}

/// The size of all that a path refers to, itself included. `seen` is scratch space.
pub(super) fn closure_size(graph: &StoreGraph, place: u32, seen: &mut Vec<u32>, stamp: u32) -> u64 {
    seen.resize(graph.len(), 0);
    let mut stack = vec![place];
    seen[place as usize] = stamp;
    let mut size: u64 = 0;
    while let Some(place) = stack.pop() {
        size = size.saturating_add(graph.nar_size(place));
        for &next in graph.references(place) {
            if seen[next as usize] != stamp {
                seen[next as usize] = stamp;
                stack.push(next);
            }
        }
    }
    size
}
