//! What real Nix instantiates, read and computed again.

use std::collections::BTreeMap;

use nix_base::StorePath;
use nix_drv::json::{self, JsonForm};
use nix_drv::{Derivation, DerivationType, HashMemo, Strictness, check_derivation, visit_graph};
use nix_store_core::{ImportBatch, LocalStore, StoreConfig, StoreLayout};
use serde_json::Value;
use test_support::{Peer, say};

use crate::private_store::{PrivateStore, Rows};

#[test]
fn agrees_with_2_3() {
    agrees_with("2.3", JsonForm::Early);
}

#[test]
fn agrees_with_2_8() {
    agrees_with("2.8", JsonForm::Early);
}

#[test]
fn agrees_with_2_26() {
    agrees_with("2.26", JsonForm::Unversioned);
}

#[test]
fn agrees_with_the_newest() {
    agrees_with("newest", JsonForm::V4);
}

fn agrees_with(label: &str, form: JsonForm) {
    let Some(peer) = Peer::find(label) else {
        return;
    };
    let store = PrivateStore::new(peer);
    let paths = store.instantiate();
    assert!(paths.len() >= 500, "only {} derivations", paths.len());
    let drvs = read_all(&store, &paths);
    texts_and_paths_are_the_same(&store, &drvs);
    let known = known_outputs(&store, &drvs);
    assert_eq!(known, of(&store.rows(), &drvs), "rows of DerivationOutputs");
    outputs_follow(&store, &drvs);
    checks_accept(&store, &drvs);
    our_store_takes_them(&store, &drvs);
    json_is_the_same(&store, &drvs, form);
    let count = |own| {
        drvs.values()
            .filter(|drv| drv.derivation_type().unwrap() == own)
            .count()
    };
    say(&format!(
        "{} derivations of Nix {}: {} input-addressed, {} fixed, {} floating, {} deferred, {} impure",
        drvs.len(),
        peer.version(),
        count(DerivationType::InputAddressed),
        count(DerivationType::CaFixed),
        count(DerivationType::CaFloating),
        count(DerivationType::Deferred),
        count(DerivationType::Impure),
    ));
}

type Derivations = BTreeMap<StorePath, Derivation>;

fn read_all(store: &PrivateStore, paths: &[StorePath]) -> Derivations {
    let parse = |path: &StorePath| {
        let text = store.read(path).unwrap();
        Derivation::parse_file(&text, store.dir(), path, Strictness::Strict)
            .unwrap_or_else(|error| panic!("{path}: {error:?}"))
    };
    paths
        .iter()
        .map(|path| (path.clone(), parse(path)))
        .collect()
}

fn texts_and_paths_are_the_same(store: &PrivateStore, drvs: &Derivations) {
    let store_dir = store.dir();
    for (path, drv) in drvs {
        assert_eq!(
            drv.to_aterm(store_dir).unwrap(),
            store.read(path).unwrap(),
            "{path}"
        );
        assert_eq!(drv.store_path(store_dir).unwrap(), *path);
    }
}

fn known_outputs(store: &PrivateStore, drvs: &Derivations) -> Rows {
    let mut rows = Rows::new();
    for (path, drv) in drvs {
        for (name, output) in drv.known_outputs(store.dir()).unwrap() {
            rows.entry(path.clone())
                .or_default()
                .insert(name.to_string(), output);
        }
    }
    rows
}

/// The rows of these derivations.
fn of(rows: &Rows, drvs: &Derivations) -> Rows {
    let ours = rows.iter().filter(|(path, _)| drvs.contains_key(path));
    ours.map(|(path, outputs)| (path.clone(), outputs.clone()))
        .collect()
}

/// The paths that derivations state are those that follow from them.
fn outputs_follow(store: &PrivateStore, drvs: &Derivations) {
    let store_dir = store.dir();
    let mut visited = 0;
    let mut memo = HashMemo::new();
    visit_graph(
        drvs.keys().cloned(),
        store_dir,
        &mut memo,
        |path| store.read(path),
        |drv| {
            visited += 1;
            let stated = drvs[drv.path()].known_outputs(store_dir)?;
            let computed: Vec<_> = drv
                .computed_outputs()?
                .into_iter()
                .filter_map(|(name, path)| Some((name.clone(), path?)))
                .collect();
            assert_eq!(computed, stated, "{}", drv.path());
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(visited, drvs.len());
}

fn checks_accept(store: &PrivateStore, drvs: &Derivations) {
    let store_dir = store.dir();
    let mut memo = HashMemo::new();
    for (path, drv) in drvs {
        let read = |path: &StorePath| store.read(path);
        let rows = check_derivation(drv, path, store_dir, &mut memo, read).unwrap();
        assert_eq!(rows, drv.known_outputs(store_dir).unwrap());
    }
}

/// All of them as a stream into a store of ours, which then has the same rows.
fn our_store_takes_them(theirs: &PrivateStore, drvs: &Derivations) {
    let theirs_opened = LocalStore::open(StoreConfig::new(theirs.layout())).unwrap();
    let paths = theirs_opened.query_all_valid().unwrap();
    let mut stream = Vec::new();
    theirs_opened.export_paths(&paths, &mut stream).unwrap();

    let root = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(theirs.dir().clone(), root.path());
    let ours = LocalStore::init(StoreConfig::new(layout)).unwrap();
    ImportBatch::new(&ours)
        .import_stream(&mut stream.as_slice(), &mut |_| {})
        .unwrap_or_else(|error| panic!("{error:?}"));
    for (path, drv) in drvs {
        let mut known = drv.known_outputs(theirs.dir()).unwrap();
        let mut rows = ours.query_derivation_outputs(path).unwrap();
        known.sort();
        rows.sort();
        assert_eq!(rows, known, "{path}");
    }
}

fn json_is_the_same(store: &PrivateStore, drvs: &Derivations, form: JsonForm) {
    let store_dir = store.dir();
    let (text, bytes): (Vec<_>, Vec<_>) = drvs
        .iter()
        .partition(|(_, drv)| json::derivation_to_json(drv, store_dir, form).is_ok());
    assert_eq!(bytes.len(), 20, "derivations that aren't UTF-8");
    let mut shown = show(store, text.iter().map(|(path, _)| *path)).unwrap();
    if store.peer().label() == "2.3" {
        rename_platforms(&mut shown);
    }
    let ours = json::show(text.iter().copied(), store_dir, form).unwrap();
    let (ours, shown) = (by_path(&ours), by_path(&shown));
    assert_eq!(ours.len(), shown.len());
    for (path, theirs) in &shown {
        assert_eq!(ours[path], *theirs, "{path}");
        let name = &drvs
            .iter()
            .find(|(p, _)| path.contains(&p.base_name()))
            .unwrap()
            .1
            .name;
        let read = json::derivation_from_json(theirs, store_dir, Some(name)).unwrap();
        let again = json::derivation_to_json(&read, store_dir, form).unwrap();
        assert_eq!(again, **theirs, "{path}");
    }
    if form != JsonForm::Early {
        show(store, bytes.iter().map(|(path, _)| *path).take(1)).unwrap_err();
    }
}

fn by_path(shown: &Value) -> BTreeMap<String, &Value> {
    let drvs = shown
        .get("derivations")
        .unwrap_or(shown)
        .as_object()
        .unwrap();
    drvs.iter().map(|(path, drv)| (path.clone(), drv)).collect()
}

/// What the release shows of derivations, or what it says instead.
fn show<'p>(
    store: &PrivateStore,
    paths: impl Iterator<Item = &'p StorePath>,
) -> Result<Value, String> {
    let mut command = store.command("nix");
    match store.peer().is_at_least(2, 15) {
        true => command.args(["derivation", "show"]),
        false => command.arg("show-derivation"),
    };
    command.args(paths.map(|path| store.dir().print(path)));
    let output = command.output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

/// 2.3 has another word for the system.
fn rename_platforms(shown: &mut Value) {
    for drv in shown.as_object_mut().unwrap().values_mut() {
        let drv = drv.as_object_mut().unwrap();
        let platform = drv.remove("platform").unwrap();
        drv.insert("system".into(), platform);
    }
}
