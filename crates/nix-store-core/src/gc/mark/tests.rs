use super::*;
use crate::gc::testing::Site;

fn names(site: &Site, keep_outputs: bool, keep_derivations: bool, roots: &[&str]) -> Vec<String> {
    let graph = site.store.db().load_graph().unwrap();
    let mut marks = Marks::new(&graph, keep_outputs, keep_derivations);
    for root in roots {
        marks.mark_path(&graph, &site.path(root));
    }
    let live = marks.places(true);
    live.map(|place| graph.path(place).name().to_string())
        .collect()
}

#[test]
fn a_root_keeps_what_it_refers_to_and_nothing_else() {
    let site = Site::new();
    site.add("a-lib", &[]);
    site.add("b-tool", &["a-lib", "b-tool"]);
    site.add("c-user", &["b-tool"]);
    assert_eq!(names(&site, false, false, &["b-tool"]), ["a-lib", "b-tool"]);
    assert!(names(&site, false, false, &["d-absent"]).is_empty());
}

#[test]
fn derivations_and_outputs_keep_each_other_as_the_settings_say() {
    let site = Site::new();
    site.add("a-src", &[]);
    site.add_derivation("b-x.drv", &["a-src"], &[("out", "c-x"), ("dev", "d-x-dev")]);
    site.add_built("c-x", &[], "b-x.drv");
    site.add_built("d-x-dev", &[], "b-x.drv");
    assert_eq!(names(&site, false, false, &["c-x"]), ["c-x"]);
    assert_eq!(
        names(&site, false, true, &["c-x"]),
        ["a-src", "b-x.drv", "c-x"]
    );
    assert_eq!(names(&site, true, false, &["b-x.drv"]).len(), 4);
    assert_eq!(names(&site, true, true, &["c-x"]).len(), 4);
}

#[test]
fn a_hash_marks_what_has_it() {
    let site = Site::new();
    let path = site.add("a-x", &[]);
    site.add("b-y", &[]);
    let graph = site.store.db().load_graph().unwrap();
    let mut marks = Marks::new(&graph, false, false);
    marks.mark_hash(&graph, path.hash());
    assert_eq!(marks.places(true).collect::<Vec<_>>(), [0]);
    assert_eq!(marks.places(false).collect::<Vec<_>>(), [1]);
}
