//! Through which path alone each path is reached: its immediate dominator in the graph of
//! references, by the algorithm of Cooper, Harvey and Kennedy.

/// Who each node of a graph hangs on.
#[derive(Debug, Default)]
pub(super) struct Dominators {
    /// The nodes that are reached; each after the one that it hangs on.
    pub(super) order: Vec<u32>,
    /// For each node of the graph: the one that it hangs on, or one of the constants.
    pub(super) parents: Vec<u32>,
}

/// The parent of what is a start, or is reached from several of them.
pub(super) const OUTSIDE: u32 = u32::MAX - 1;
/// The parent of what isn't reached.
pub(super) const UNREACHED: u32 = u32::MAX;

/// The dominators of the `count` nodes reached from `starts` by `after`; `before` has the same
/// edges backwards, and may have more that come from nodes that aren't reached.
pub(super) fn dominators<'g>(
    count: usize,
    starts: &[u32],
    after: impl Fn(u32) -> &'g [u32],
    before: impl Fn(u32) -> &'g [u32],
    is_allowed: &[bool],
) -> Dominators {
    let order = reverse_postorder(count, starts, after, is_allowed);
    let mut ranks = vec![UNREACHED; count];
    for (rank, &node) in (0..).zip(&order) {
        ranks[node as usize] = rank;
    }
    let mut is_start = vec![false; count];
    for &start in starts {
        is_start[start as usize] = is_allowed[start as usize];
    }
    let mut parents = vec![UNREACHED; count];
    let mut changed = true;
    while changed {
        changed = false;
        for &node in &order {
            let mut parent = match is_start[node as usize] {
                true => OUTSIDE,
                false => UNREACHED,
            };
            for &other in before(node) {
                let is_known = ranks[other as usize] != UNREACHED
                    && parents[other as usize] != UNREACHED
                    && other != node;
                if is_known {
                    parent = common(parent, other, &parents, &ranks);
                }
            }
            if parents[node as usize] != parent {
                parents[node as usize] = parent;
                changed = true;
            }
        }
    }
    Dominators { order, parents }
}

/// The nearest node on which both hang.
fn common(mut one: u32, mut other: u32, parents: &[u32], ranks: &[u32]) -> u32 {
    if one == UNREACHED {
        return other;
    }
    while one != other {
        if one == OUTSIDE || other == OUTSIDE {
            return OUTSIDE;
        }
        // What hangs on a node has the higher rank.
        match ranks[one as usize] > ranks[other as usize] {
            true => one = parents[one as usize],
            false => other = parents[other as usize],
        }
    }
    one
}

fn reverse_postorder<'g>(
    count: usize,
    starts: &[u32],
    after: impl Fn(u32) -> &'g [u32],
    is_allowed: &[bool],
) -> Vec<u32> {
    let mut seen = vec![false; count];
    let mut order = Vec::new();
    for &start in starts {
        let mut stack = Vec::new();
        if is_allowed[start as usize] && !std::mem::replace(&mut seen[start as usize], true) {
            stack.push((start, after(start).iter()));
        }
        while let Some((node, next)) = stack.last_mut() {
            match next.next() {
                Some(&next) => {
                    let is_new = is_allowed[next as usize]
                        && !std::mem::replace(&mut seen[next as usize], true);
                    if is_new {
                        stack.push((next, after(next).iter()));
                    }
                }
                None => {
                    order.push(*node);
                    stack.pop();
                }
            }
        }
    }
    order.reverse();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parents(edges: &[(u32, u32)], starts: &[u32], count: usize) -> Vec<u32> {
        let list = |turn: fn(&(u32, u32)) -> (u32, u32)| {
            let mut lists = vec![Vec::new(); count];
            for edge in edges {
                let (from, to) = turn(edge);
                lists[from as usize].push(to);
            }
            lists
        };
        let after = list(|&(from, to)| (from, to));
        let before = list(|&(from, to)| (to, from));
        let found = dominators(
            count,
            starts,
            |node| &after[node as usize],
            |node| &before[node as usize],
            &vec![true; count],
        );
        let place = |node: u32| found.order.iter().position(|&other| other == node);
        for &node in &found.order {
            let parent = found.parents[node as usize];
            assert!(parent == OUTSIDE || place(parent) < place(node));
        }
        found.parents
    }

    #[test]
    fn a_diamond_hangs_on_its_top() {
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (3, 3)];
        assert_eq!(parents(&edges, &[0], 6), [OUTSIDE, 0, 0, 0, 3, UNREACHED]);
    }

    #[test]
    fn what_two_starts_reach_hangs_on_neither() {
        let edges = [(0, 2), (1, 2), (0, 3), (2, 4)];
        assert_eq!(
            parents(&edges, &[0, 1], 5),
            [OUTSIDE, OUTSIDE, OUTSIDE, 0, 2]
        );
    }

    #[test]
    fn a_start_below_a_start_hangs_on_nothing() {
        assert_eq!(
            parents(&[(0, 1), (1, 2)], &[0, 1], 3),
            [OUTSIDE, OUTSIDE, 1]
        );
    }
}
