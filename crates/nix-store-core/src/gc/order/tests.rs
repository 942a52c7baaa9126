use super::*;
use crate::gc::testing::Site;

/// d → c → b → a, and d → a; e alone.
fn chain() -> Site {
    let site = Site::new();
    site.add("a-x", &[]);
    site.add("b-x", &["a-x", "b-x"]);
    site.add("c-x", &["b-x"]);
    site.add("d-x", &["c-x", "a-x"]);
    site.add("e-x", &[]);
    site
}

fn order(site: &Site, dead: &[u32], uses: Option<&[i64]>) -> Vec<(String, i64)> {
    let graph = site.store.db().load_graph().unwrap();
    let named = |(place, time): (u32, i64)| (graph.path(place).name().to_string(), time);
    referrers_first(&graph, dead, uses)
        .into_iter()
        .map(named)
        .collect()
}

fn names(order: &[(String, i64)]) -> Vec<&str> {
    order.iter().map(|(name, _)| &name[..1]).collect()
}

#[test]
fn referrers_come_first() {
    let site = chain();
    let order = order(&site, &[0, 1, 2, 3, 4], None);
    assert_eq!(names(&order), ["e", "d", "c", "b", "a"]);
}

#[test]
fn the_least_recently_used_go_first_and_use_is_handed_down() {
    let site = chain();
    let order = order(&site, &[0, 1, 2, 3, 4], Some(&[50, 10, 20, 5, 15]));
    assert_eq!(names(&order), ["d", "e", "c", "b", "a"]);
    let times: Vec<i64> = order.iter().map(|(_, time)| *time).collect();
    assert_eq!(times, [5, 15, 20, 20, 50]);
}

#[test]
fn what_is_alive_holds_nothing_up() {
    let site = chain();
    assert_eq!(names(&order(&site, &[1, 2], None)), ["c", "b"]);
}
