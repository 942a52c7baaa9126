//! The trees as a page that needs nothing but itself.
//!
//! The data is a list of `[name, number of the entry around it, own size, remark]`.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::Usage;
use super::forest::Forest;

/// The page.
pub(super) fn rendered(usage: &Usage<'_>) -> String {
    let mut entries = vec![json!([usage.store.store_dir().as_str(), -1, 0, ""])];
    add(usage, &usage.reached, 0, &mut entries);
    if !usage.rest.places().is_empty() {
        let group = entries.len();
        let count = usage.rest.places().len();
        entries.push(json!([
            format!("{count} paths that no root leads to"),
            0,
            0,
            ""
        ]));
        add(usage, &usage.rest, group, &mut entries);
    }
    // Nothing in the data may end the element that it stands in.
    let data = Value::from(entries).to_string().replace('<', "\\u003c");
    TEMPLATE.replace("/*DATA*/", &data)
}

/// Adds the largest paths of a forest; what is left out counts as a part of what it stands below.
fn add(usage: &Usage<'_>, forest: &Forest, group: usize, entries: &mut Vec<Value>) {
    let mut largest: Vec<u32> = forest.places().to_vec();
    // What stands below another is no larger and comes after it.
    largest.sort_by_key(|&place| Reverse(forest.exclusive(place)));
    largest.truncate(MOST_ENTRIES);
    let mut numbers: HashMap<u32, usize> = HashMap::new();
    for &place in &largest {
        numbers.insert(place, entries.len() + numbers.len());
    }
    let mut left_out: HashMap<usize, (u64, usize)> = HashMap::new();
    let outer = |place: u32| match forest.parent(place) {
        Some(parent) => numbers.get(&parent).copied(),
        None => Some(group),
    };
    for &place in forest.places() {
        if !numbers.contains_key(&place)
            && let Some(outer) = outer(place)
        {
            let rest = left_out.entry(outer).or_default();
            rest.0 = rest.0.saturating_add(forest.exclusive(place));
            rest.1 += 1;
        }
    }
    for &place in &largest {
        let name = usage.graph.path(place).base_name();
        let outer = outer(place).unwrap_or(group);
        let own = usage.graph.nar_size(place);
        entries.push(json!([name, outer, own, remark(forest, place)]));
    }
    let mut left_out: Vec<_> = left_out.into_iter().collect();
    left_out.sort_unstable();
    for (outer, (size, count)) in left_out {
        entries.push(json!([format!("{count} smaller ones"), outer, size, ""]));
    }
}

/// Why the path is there.
fn remark(forest: &Forest, place: u32) -> String {
    match forest.top(place) {
        Some(top) => top.names.join("\n"),
        None if forest.parent(place).is_none() => "needed by several".to_owned(),
        None => String::new(),
    }
}

/// More are too small to be seen.
const MOST_ENTRIES: usize = 20_000;
const TEMPLATE: &str = include_str!("treemap.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        assert_eq!(TEMPLATE.matches("/*DATA*/").count(), 1);
        for word in [
            "src=", "href=", "http:", "https:", "url(", "import", "fetch(",
        ] {
            assert!(!TEMPLATE.contains(word), "'{word}'");
        }
        assert!(TEMPLATE.contains("default-src 'none'"));
    }
}
