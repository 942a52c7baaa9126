//! Sets of paths, and the order in which they are printed.

use super::lookup::{Edges, Fault, Lookup};

/// Places that were seen.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<bool>);

impl Seen {
    /// Whether the place is new.
    pub(super) fn insert(&mut self, place: u32) -> bool {
        let index = place as usize;
        if index >= self.0.len() {
            self.0.resize((index + 1).next_power_of_two(), false);
        }
        !std::mem::replace(&mut self.0[index], true)
    }

    fn contains(&self, place: u32) -> bool {
        self.0.get(place as usize).copied().unwrap_or(false)
    }
}

/// `starts` and all that `edges` lead to, each once.
pub(super) fn closure(
    lookup: &mut dyn Lookup,
    starts: Vec<u32>,
    edges: &[Edges],
) -> Result<Vec<u32>, Fault> {
    let mut seen = Seen::default();
    let mut all: Vec<u32> = starts.into_iter().filter(|&p| seen.insert(p)).collect();
    let mut next = 0;
    let mut found = Vec::new();
    while let Some(&place) = all.get(next) {
        next += 1;
        for &edges in edges {
            lookup.follow(edges, place, &mut found)?;
        }
        all.extend(found.drain(..).filter(|&place| seen.insert(place)));
    }
    Ok(all)
}

/// `places`, what others refer to before them.
// Nix compat: visited in the order of paths, a path behind what it refers to. That decides
// where nothing else does.
pub(super) fn references_first(
    lookup: &mut dyn Lookup,
    mut places: Vec<u32>,
) -> Result<Vec<u32>, Fault> {
    lookup.sort(&mut places);
    let mut wanted = Seen::default();
    for &place in &places {
        wanted.insert(place);
    }
    let mut seen = Seen::default();
    let mut sorted = Vec::with_capacity(places.len());
    // Each path on the way with the index of the first of its references still to be seen.
    let mut way: Vec<(u32, usize)> = Vec::new();
    let mut references = Vec::new();
    for start in places {
        let mut entered = Some(start).filter(|&place| seen.insert(place));
        loop {
            if let Some(place) = entered.take() {
                way.push((place, references.len()));
                let first = references.len();
                lookup.follow(Edges::References, place, &mut references)?;
                references[first..].reverse();
            }
            let Some(&(place, first)) = way.last() else {
                break;
            };
            if references.len() > first {
                entered = references
                    .pop()
                    .filter(|&place| wanted.contains(place) && seen.insert(place));
            } else {
                sorted.push(place);
                way.pop();
            }
        }
    }
    Ok(sorted)
}
