use nix_base::{NarHash, StoreDir, UnkeyedValidPathInfo, ValidPathInfo};

use super::super::{DbOptions, Durability, JournalMode, OpenMode, Registration};
use super::*;

/// A database of its own.
struct Fresh {
    db: Db,
    dir: tempfile::TempDir,
}

impl Fresh {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&DbOptions {
            file: dir.path().join("db.sqlite"),
            store_dir: StoreDir::default(),
            mode: OpenMode::Create,
            durability: Durability::None,
            journal: JournalMode::default(),
            busy_timeout: std::time::Duration::from_secs(5),
        })
        .unwrap();
        db.create_tables().unwrap();
        Self { db, dir }
    }

    fn add(&self, name: &str, references: &[&str], deriver: Option<&str>, outputs: &[&str]) {
        let mut info = UnkeyedValidPathInfo::new(NarHash::from_bytes([7; 32]), 120);
        info.registration_time = 5;
        info.references = references.iter().map(|name| path(name)).collect();
        info.deriver = deriver.map(path);
        let mut registration = Registration::from(ValidPathInfo {
            path: path(name),
            info,
        });
        let output = |name: &&str| (nix_base::OutputName::new("out").unwrap(), path(name));
        registration.outputs = outputs.iter().map(output).collect();
        self.db.register(&[registration]).unwrap();
    }

    fn change(&self, sql: &str) {
        let conn = Connection::open(self.dir.path().join("db.sqlite")).unwrap();
        conn.execute_batch(&format!("pragma foreign_keys = 0; {sql}"))
            .unwrap();
    }
}

/// `a-b`: the first digit fills the hash.
fn path(name: &str) -> StorePath {
    let digits = name[..1].repeat(32);
    StoreDir::default()
        .parse(format!("/nix/store/{digits}-{name}"))
        .unwrap()
}

fn names(graph: &StoreGraph, places: &[u32]) -> Vec<String> {
    let mut names: Vec<String> = places
        .iter()
        .map(|&place| graph.path(place).name().to_string())
        .collect();
    names.sort();
    names
}

/// d.drv → c; b and f are its outputs, f invalid; b → a, b.
fn sample() -> Fresh {
    let fresh = Fresh::new();
    fresh.add("c-src", &[], None, &[]);
    fresh.add("a-lib", &[], None, &[]);
    fresh.add("d-x.drv", &["c-src"], None, &["b-x"]);
    fresh.add("b-x", &["a-lib", "b-x"], Some("d-x.drv"), &[]);
    fresh.add("a-user", &["b-x"], Some("z-gone.drv"), &[]);
    fresh
}

fn check(graph: &StoreGraph) {
    let place = |name| graph.find(&path(name)).unwrap();
    assert_eq!(graph.len(), 5);
    assert!(graph.paths().is_sorted());
    assert_eq!(
        names(graph, graph.references(place("b-x"))),
        ["a-lib", "b-x"]
    );
    assert_eq!(
        names(graph, graph.referrers(place("b-x"))),
        ["a-user", "b-x"]
    );
    assert_eq!(graph.deriver(place("b-x")), Some(place("d-x.drv")));
    assert_eq!(graph.deriver(place("a-user")), None);
    assert_eq!(names(graph, graph.outputs(place("d-x.drv"))), ["b-x"]);
    assert_eq!(graph.valid_derivers(place("b-x")), [place("d-x.drv")]);
    assert!(graph.outputs(place("b-x")).is_empty());
    assert_eq!(graph.nar_size(place("a-lib")), 120);
    assert_eq!(graph.registration_time(place("a-lib")), 5);
}

#[test]
fn holds_all_that_hangs_together() {
    check(&sample().db.load_graph().unwrap());
}

#[test]
fn numbers_of_rows_may_be_far_apart() {
    let fresh = sample();
    fresh.change(
        "update Refs set referrer = referrer * 1000000007, reference = reference * 1000000007; \
         update DerivationOutputs set drv = drv * 1000000007; \
         update ValidPaths set id = id * 1000000007",
    );
    check(&fresh.db.load_graph().unwrap());
}

#[test]
fn finds_paths_by_name_and_by_hash() {
    let graph = sample().db.load_graph().unwrap();
    let both = graph.with_hash(path("a-lib").hash());
    assert_eq!(both.len(), 2);
    assert!(graph.with_hash(path("f-x").hash()).is_empty());
    assert_eq!(graph.find(&path("a-other")), None);
    let base = path("a-user").base_name();
    assert_eq!(
        graph.find_base_name(base.as_bytes()),
        graph.find(&path("a-user"))
    );
    for name in ["", "junk", &base[..32], &base[..33], &format!("{base}x")] {
        assert_eq!(graph.find_base_name(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn hashes_may_begin_alike() {
    let dir = StoreDir::default();
    let path = |last: char, name: &str| -> StorePath {
        let digits = format!("{}{last}", "a".repeat(31));
        dir.parse(format!("/nix/store/{digits}-{name}")).unwrap()
    };
    let fresh = Fresh::new();
    let mut paths = Vec::new();
    for last in "cfkz".chars() {
        paths.extend(["bin", "dev", "lib"].map(|name| path(last, name)));
    }
    for path in &paths {
        let info = UnkeyedValidPathInfo::new(NarHash::from_bytes([7; 32]), 120);
        let info = ValidPathInfo {
            path: path.clone(),
            info,
        };
        fresh.db.register(&[info.into()]).unwrap();
    }
    let graph = fresh.db.load_graph().unwrap();
    for path in &paths {
        let place = graph.find(path).unwrap();
        assert_eq!(graph.path(place), path);
        assert_eq!(
            graph.find_base_name(path.base_name().as_bytes()),
            Some(place)
        );
        let same = graph.with_hash(path.hash());
        assert_eq!(same.len(), 3);
        assert!(same.contains(&place));
    }
    for absent in [path('d', "bin"), path('c', "zzz"), path('0', "bin")] {
        assert_eq!(graph.find(&absent), None);
        let base = absent.base_name();
        assert_eq!(graph.find_base_name(base.as_bytes()), None);
    }
    assert!(graph.with_hash(path('d', "bin").hash()).is_empty());
}

#[test]
fn references_to_rows_that_are_gone_lead_nowhere() {
    let fresh = sample();
    fresh.change("insert into Refs (referrer, reference) values (1, 99), (98, 1)");
    check(&fresh.db.load_graph().unwrap());
    assert!(Fresh::new().db.load_graph().unwrap().is_empty());
}

#[test]
fn rows_go_in_order_until_told_to_stop_and_only_without_referrers() {
    let fresh = sample();
    let graph = fresh.db.load_graph().unwrap();
    let id = |name| graph.row_id(graph.find(&path(name)).unwrap());
    let used_first = [id("a-lib"), id("a-user"), id("b-x"), id("d-x.drv")];
    let gone = fresh.db.invalidate_rows(&used_first, || true).unwrap();
    assert_eq!(gone, [false, true, true, true]);
    let rest = [id("a-lib"), id("c-src")];
    assert_eq!(fresh.db.invalidate_rows(&rest, || false).unwrap(), [true]);
    assert_eq!(fresh.db.load_graph().unwrap().paths(), [path("c-src")]);
    assert_eq!(
        fresh.db.invalidate_rows(&rest, || true).unwrap(),
        [true, true]
    );
    fresh.db.invalidate_rows(&[], || true).unwrap();
}
