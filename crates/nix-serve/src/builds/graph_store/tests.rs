use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use nix_base::{OutputName, StorePathName};
use nix_drv::{BasicDerivation, DerivationOutput, HashMemo};
use nix_store_core::{Durability, StoreLayout};

use super::*;

fn store(root: &std::path::Path) -> StoreOfGraphs {
    let layout = StoreLayout::chroot(StoreDir::default(), root);
    let mut config = StoreConfig::new(layout);
    config.durability = Durability::None;
    drop(LocalStore::init(config.clone()).unwrap());
    StoreOfGraphs::open(config).unwrap()
}

fn derivation() -> Derivation {
    let out = OutputName::new("out").unwrap();
    let mut drv = Derivation {
        basic: BasicDerivation {
            name: StorePathName::new("x").unwrap(),
            outputs: BTreeMap::from([(out, DerivationOutput::Deferred)]),
            input_srcs: StorePathSet::new(),
            platform: "x86_64-linux".into(),
            builder: "/bin/sh".into(),
            args: vec!["honest".into()],
            env: BTreeMap::from([("out".into(), "".into())]),
        },
        input_drvs: BTreeMap::new(),
    };
    drv.fill_in_outputs(&StoreDir::default(), &HashMemo::new())
        .unwrap();
    drv
}

fn rewrite(store: &StoreOfGraphs, path: &StorePath, text: &[u8]) {
    let file = store.store().layout().real_path(path);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(file, text).unwrap();
}

#[test]
fn derivations_are_added_and_read_and_others_are_unknown() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let drv = derivation();
    let path = drv.store_path(store.store_dir()).unwrap();
    assert_eq!(store.read_derivation(&path).unwrap(), None);
    assert_eq!(store.add_derivation(&drv).unwrap(), path);
    let text = drv.to_aterm(store.store_dir()).unwrap();
    assert_eq!(store.read_derivation(&path).unwrap(), Some(text));
    assert_eq!(
        store.valid_paths(&[path.clone()].into()).unwrap(),
        [path].into()
    );
}

#[test]
fn a_file_that_was_changed_is_refused_unless_it_says_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let drv = derivation();
    let path = store.add_derivation(&drv).unwrap();
    let text = drv.to_aterm(store.store_dir()).unwrap();
    let changed = String::from_utf8(text.clone())
        .unwrap()
        .replace("honest", "wicked");
    rewrite(&store, &path, changed.as_bytes());
    let error = store.read_derivation(&path).unwrap_err().to_string();
    assert!(error.contains("was modified! expected hash"), "{error}");
    // Whoever parses it knows better what is wrong with it.
    rewrite(&store, &path, &text[..20]);
    let read = store.read_derivation(&path).unwrap();
    assert_eq!(read.as_deref(), Some(&text[..20]));
}
