use nix_base::StorePathName;
use nix_drv::{BasicDerivation, InputNode};

use super::*;

fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("{}-{name}", "1".repeat(32))).unwrap()
}

fn out() -> OutputName {
    OutputName::new("out").unwrap()
}

/// Derivations with one output, `NAME.drv` making `NAME`, and what each needs.
fn graph(needs: &[(&str, &[&str])]) -> Graph {
    let mut graph = Graph::default();
    for (name, inputs) in needs {
        let node = InputNode {
            outputs: [out()].into(),
            children: BTreeMap::new(),
        };
        let drv = Derivation {
            basic: BasicDerivation {
                name: StorePathName::new(name).unwrap(),
                outputs: BTreeMap::new(),
                input_srcs: StorePathSet::new(),
                platform: "x".into(),
                builder: "x".into(),
                args: Vec::new(),
                env: BTreeMap::new(),
            },
            input_drvs: inputs
                .iter()
                .map(|input| (path(&format!("{input}.drv")), node.clone()))
                .collect(),
        };
        let drv_path = path(&format!("{name}.drv"));
        graph.realise(&drv_path, out(), path(name));
        graph.drvs.insert(drv_path, drv);
    }
    graph
}

fn missing(graph: &Graph, wanted: &[&str], there: &[&str]) -> Vec<String> {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|name| (path(&format!("{name}.drv")), [out()].into()))
        .collect();
    let there = there.iter().map(|name| path(name)).collect();
    let order = graph.missing(&wanted, &there);
    order.iter().map(|path| path.name().to_string()).collect()
}

#[test]
fn inputs_come_before_what_needs_them_and_each_once() {
    let diamond = graph(&[
        ("top", &["left", "right"]),
        ("left", &["base"]),
        ("right", &["base"]),
        ("base", &[]),
    ]);
    let order = missing(&diamond, &["top", "left"], &[]);
    assert_eq!(order.len(), 4, "{order:?}");
    let position = |name: &str| order.iter().position(|found| found == name).unwrap();
    assert_eq!(position("base.drv"), 0);
    assert_eq!(position("top.drv"), 3);
}

#[test]
fn nothing_below_what_is_there_is_built() {
    let chain = graph(&[("c", &["b"]), ("b", &["a"]), ("a", &[])]);
    assert_eq!(missing(&chain, &["c"], &["b"]), ["c.drv"]);
    assert_eq!(missing(&chain, &["c"], &["a"]), ["b.drv", "c.drv"]);
    assert!(missing(&chain, &["c"], &["c"]).is_empty());
}

#[test]
fn an_output_whose_path_nobody_knows_is_missing() {
    let mut chain = graph(&[("b", &["a"]), ("a", &[])]);
    chain.known.remove(&(path("a.drv"), out()));
    assert_eq!(missing(&chain, &["b"], &["a"]), ["a.drv", "b.drv"]);
    chain.realise(&path("a.drv"), out(), path("a"));
    assert_eq!(missing(&chain, &["b"], &["a"]), ["b.drv"]);
}

#[test]
fn a_cycle_has_an_end() {
    let cycle = graph(&[("a", &["b"]), ("b", &["a"])]);
    assert_eq!(missing(&cycle, &["a"], &[]).len(), 2);
}
