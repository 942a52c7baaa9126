//! Putting objects behind those that they refer to.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::ValidPathInfo;
use crate::store_path::StorePath;

/// References that go in circles, so that no object can come first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("references of '{0}' form a cycle")]
pub struct ReferenceCycle(pub StorePath);

/// Sorts `infos` so that each object follows all those of `infos` that it refers to, as
/// receivers demand. References to itself and to objects outside don't count.
///
/// # Errors
/// The references go in circles; the error has a path that is, or depends on, one of them.
pub fn references_first(infos: Vec<ValidPathInfo>) -> Result<Vec<ValidPathInfo>, ReferenceCycle> {
    let order = reference_order(&infos)?;
    let mut slots: Vec<Option<ValidPathInfo>> = infos.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|i| slots[i].take()).collect())
}

/// The order of [`references_first`] as indices into `infos`.
///
/// # Errors
/// As there.
pub fn reference_order<I: Borrow<ValidPathInfo>>(
    infos: &[I],
) -> Result<Vec<usize>, ReferenceCycle> {
    let infos: Vec<&ValidPathInfo> = infos.iter().map(Borrow::borrow).collect();
    let index: BTreeMap<&StorePath, usize> = infos
        .iter()
        .enumerate()
        .map(|(i, info)| (&info.path, i))
        .collect();
    let (order, stuck) = sort(&infos, &index);
    match stuck {
        Some(stuck) => Err(ReferenceCycle(infos[stuck].path.clone())),
        None => Ok(order),
    }
}

/// The order by index, and one that can't be placed. Breadth first, without recursion.
fn sort(
    infos: &[&ValidPathInfo],
    index: &BTreeMap<&StorePath, usize>,
) -> (Vec<usize>, Option<usize>) {
    let mut waiting_for = vec![0_usize; infos.len()];
    let mut referrers: Vec<Vec<usize>> = vec![Vec::new(); infos.len()];
    for (i, info) in infos.iter().enumerate() {
        for reference in info.references.iter().filter(|r| **r != info.path) {
            if let Some(&target) = index.get(reference) {
                waiting_for[i] += 1;
                referrers[target].push(i);
            }
        }
    }
    let mut order: Vec<usize> = (0..infos.len()).filter(|&i| waiting_for[i] == 0).collect();
    let mut next = 0;
    while let Some(&placed) = order.get(next) {
        next += 1;
        for &referrer in &referrers[placed] {
            waiting_for[referrer] -= 1;
            if waiting_for[referrer] == 0 {
                order.push(referrer);
            }
        }
    }
    let stuck = (0..infos.len()).find(|&i| waiting_for[i] > 0);
    (order, stuck)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::NarHash;
    use crate::path_info::UnkeyedValidPathInfo;

    fn info(name: &str, references: &[&str]) -> ValidPathInfo {
        let path = |n: &str| StorePath::from_base_name(&format!("{}-{n}", "0".repeat(32))).unwrap();
        let mut info = UnkeyedValidPathInfo::new(NarHash::from_bytes([1; 32]), 8);
        info.references = references.iter().map(|r| path(r)).collect();
        ValidPathInfo {
            path: path(name),
            info,
        }
    }

    fn names(infos: &[ValidPathInfo]) -> Vec<&str> {
        infos.iter().map(|i| i.path.name().as_str()).collect()
    }

    #[test]
    fn references_come_first_and_own_and_foreign_ones_do_not_count() {
        let infos = vec![
            info("c", &["a", "b", "c"]),
            info("b", &["a"]),
            info("a", &["elsewhere", "a"]),
        ];
        let sorted = references_first(infos).unwrap();
        assert_eq!(names(&sorted), ["a", "b", "c"]);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let name = |i: usize| format!("n{i}");
        let infos: Vec<_> = (0..50_000)
            .map(|i| info(&name(i), &[&name(i + 1)]))
            .collect();
        let sorted = references_first(infos).unwrap();
        assert_eq!(sorted.len(), 50_000);
        assert_eq!(sorted[0].path.name().as_str(), "n49999");
    }

    #[test]
    fn refuses_cycles() {
        let infos = vec![info("a", &["b"]), info("b", &["a"])];
        let error = references_first(infos).unwrap_err();
        insta::assert_snapshot!(error, @"references of '00000000000000000000000000000000-a' form a cycle");
    }
}
