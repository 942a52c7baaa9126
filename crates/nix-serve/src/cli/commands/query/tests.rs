use std::path::Path;

use nix_base::{NarHash, StoreDir, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo};
use nix_store_core::{Durability, StoreConfig, StoreLayout};

use super::lookup::{All, Few};
use super::*;

/// Paths whose names are in another order than their hashes.
fn path(number: usize) -> StorePath {
    let digits = format!("{:032}", number * 7919 % 1009);
    StorePath::from_base_name(&format!("{digits}-p-{number}")).unwrap()
}

/// A store without objects, in which each path refers to itself and some before it.
fn store(root: &Path, count: usize) -> LocalStore {
    let layout = StoreLayout::chroot(StoreDir::default(), &root.join("root"));
    let mut config = StoreConfig::new(layout);
    config.durability = Durability::None;
    let store = LocalStore::init(config).unwrap();
    let infos = (0..count).map(|i| {
        let mut info = UnkeyedValidPathInfo::new(NarHash::of(b"x"), 100 + i as u64);
        let before = [0, 1, 2, 5, 13]
            .into_iter()
            .filter_map(|k| i.checked_sub(k));
        info.references = before.map(path).collect();
        ValidPathInfo {
            path: path(i),
            info,
        }
    });
    store.register_present(infos.collect()).unwrap();
    store
}

/// The answer to a question, by look-ups and in memory.
fn both<T>(store: &LocalStore, question: impl Fn(&mut dyn Lookup) -> Result<T, Fault>) -> [T; 2] {
    let few = question(&mut Few::new(store)).unwrap();
    let all = question(&mut All(store.db().load_graph().unwrap())).unwrap();
    [few, all]
}

#[test]
fn each_path_of_a_closure_is_looked_up_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), 1200);
    let start = [path(1199)];
    let closure = paths::reach(
        &mut Few::new(&store),
        store.store_dir(),
        &Query::Requisites,
        false,
        &start,
    );
    assert_eq!(closure.unwrap().len(), 1200, "look-ups suffice");
}

#[test]
fn look_ups_and_the_whole_graph_give_the_same_answers() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), 60);
    let dir = store.store_dir();
    for query in [
        Query::Requisites,
        Query::References,
        Query::Referrers,
        Query::ReferrersClosure,
    ] {
        let [few, all] = both(&store, |lookup| {
            paths::reach(lookup, dir, &query, false, &[path(20), path(31)])
        });
        assert_eq!(few, all, "{query:?}");
        assert!(few.len() > 5, "{query:?}: {few:?}");
        for (place, found) in few.iter().enumerate() {
            let later: StorePathSet = few[place + 1..].iter().cloned().collect();
            let references = store.query_references(found).unwrap();
            assert!(references.is_disjoint(&later), "{query:?}: {found}");
        }
    }
    for draw in [tree::draw, dot, graphml] {
        let [few, all] = both(&store, |lookup| {
            let mut out = Vec::new();
            draw(lookup, dir, &[path(40)], &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        });
        assert_eq!(few, all);
        assert!(few.contains(&path(0).to_string()));
    }
}

fn dot(
    lookup: &mut dyn Lookup,
    dir: &StoreDir,
    roots: &[StorePath],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    graphs::write(lookup, dir, Language::Dot, roots, out)
}

fn graphml(
    lookup: &mut dyn Lookup,
    dir: &StoreDir,
    roots: &[StorePath],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    graphs::write(lookup, dir, Language::GraphMl, roots, out)
}

#[test]
fn a_question_about_much_is_asked_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), 900);
    let attempts = std::cell::Cell::new(0);
    let found = ask(&store, |lookup| {
        attempts.set(attempts.get() + 1);
        let mut places = Vec::new();
        for _ in 0..5 {
            for number in 0..900 {
                places.extend(lookup.find(&path(number))?);
                lookup.nar_size(places[places.len() - 1])?;
            }
        }
        Ok(places.len())
    });
    assert_eq!(found.unwrap(), 4500);
    assert_eq!(attempts.get(), 2);
}

#[test]
fn a_path_that_is_not_valid_ends_the_answer_where_real_nix_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), 3);
    let dir = store.store_dir();
    let mut out = Vec::new();
    let draw = |lookup: &mut dyn Lookup, out: &mut Vec<u8>| {
        tree::draw(lookup, dir, &[path(0), path(9)], out)
    };
    let error = drawn(&store, &mut out, draw).unwrap_err();
    assert!(error.to_string().ends_with("is not valid"), "{error}");
    let text = String::from_utf8(out).unwrap();
    let full = |number: usize| dir.print(&path(number));
    assert_eq!(text, format!("{0}\n└───{0} [...]\n{1}\n", full(0), full(9)));
}
