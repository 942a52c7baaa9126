//! The order in which outputs are finished: what is referred to first.

use std::collections::{BTreeMap, BTreeSet};

use nix_base::OutputName;

/// Two outputs on a circle of references.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    /// The one that is reached again.
    pub(super) output: OutputName,
    /// The one that refers to it.
    pub(super) referrer: OutputName,
}

/// Sorts outputs by what they refer to among themselves; a reference of an output to itself
/// doesn't count.
pub(super) fn sort(
    references: &BTreeMap<OutputName, BTreeSet<OutputName>>,
) -> Result<Vec<OutputName>, Cycle> {
    let mut sorted = Vec::with_capacity(references.len());
    let mut done = BTreeSet::new();
    for start in references.keys() {
        if done.contains(start) {
            continue;
        }
        // The way from `start` to where we are, each with what is still to be visited there.
        let mut way = vec![(start, others(references, start))];
        let mut on_way = BTreeSet::from([start]);
        while let Some((output, left)) = way.last_mut() {
            let output = *output;
            let Some(next) = left.pop() else {
                way.pop();
                on_way.remove(output);
                done.insert(output);
                sorted.push(output.clone());
                continue;
            };
            if on_way.contains(next) {
                return Err(Cycle {
                    output: next.clone(),
                    referrer: output.clone(),
                });
            }
            if !done.contains(next) {
                on_way.insert(next);
                way.push((next, others(references, next)));
            }
        }
    }
    Ok(sorted)
}

/// What an output refers to, the first name last.
fn others<'r>(
    references: &'r BTreeMap<OutputName, BTreeSet<OutputName>>,
    output: &OutputName,
) -> Vec<&'r OutputName> {
    let of_output = references.get(output).into_iter().flatten();
    of_output
        .rev()
        .filter(|other| *other != output && references.contains_key(other))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> OutputName {
        OutputName::new(text).unwrap()
    }

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<OutputName, BTreeSet<OutputName>> {
        edges
            .iter()
            .map(|(from, to)| (name(from), to.iter().map(|to| name(to)).collect()))
            .collect()
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        let sorted = sort(&graph(&[
            ("a", &["c", "a"]),
            ("b", &["a"]),
            ("c", &[]),
            ("d", &["valid-before"]),
        ]));
        assert_eq!(sorted.unwrap(), ["c", "a", "b", "d"].map(name));
    }

    #[test]
    fn a_circle_is_named_where_it_closes() {
        let circle = sort(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]));
        let (output, referrer) = (name("b"), name("c"));
        assert_eq!(circle.unwrap_err(), Cycle { output, referrer });
        let mutual = sort(&graph(&[("dev", &["out"]), ("out", &["dev"])]));
        let (output, referrer) = (name("dev"), name("out"));
        assert_eq!(mutual.unwrap_err(), Cycle { output, referrer });
    }

    #[test]
    fn long_chains_need_no_stack() {
        let names: Vec<String> = (0..50_000).map(|i| format!("o{i:05}")).collect();
        let chain = names
            .iter()
            .enumerate()
            .map(|(i, n)| {
                (
                    name(n),
                    names.get(i + 1).map(|n| name(n)).into_iter().collect(),
                )
            })
            .collect();
        let sorted = sort(&chain).unwrap();
        assert_eq!(sorted.first(), Some(&name("o49999")));
        assert_eq!(sorted.len(), names.len());
    }
}
