use std::fs;
use std::os::unix::fs::MetadataExt;

use nix_base::{
    ContentAddress, DrvOutput, Hash, HashAlgo, NarHash, OutputName, StoreDir, UnkeyedValidPathInfo,
};

use super::*;
use crate::StoreLayout;
use crate::local::{PrivateDir, StoreConfig};

struct Fixture {
    _temp: tempfile::TempDir,
    store: LocalStore,
}

fn fixture(durability: Durability) -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(StoreDir::default(), temp.path());
    let store = LocalStore::init(StoreConfig {
        durability,
        ..StoreConfig::new(layout)
    })
    .unwrap();
    Fixture { _temp: temp, store }
}

impl Fixture {
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.store.layout().real_store).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".links" && !name.contains("-tmp-"))
            .collect();
        names.sort();
        names
    }
}

fn path(digit: char, name: &str) -> StorePath {
    let digits: String = std::iter::repeat_n(digit, 32).collect();
    StorePath::from_base_name(&format!("{digits}-{name}")).unwrap()
}

/// A directory with one file, or with many.
fn output<'d>(private: &'d PrivateDir, path: StorePath, files: usize) -> NewOutput<'d> {
    let name = path.base_name();
    let tree = private.path().join(&name);
    fs::create_dir(&tree).unwrap();
    for i in 0..files {
        fs::write(tree.join(i.to_string()), &name).unwrap();
    }
    let info = UnkeyedValidPathInfo::new(NarHash::of(name.as_bytes()), 1);
    NewOutput {
        dir: private.fd(),
        name: name.into(),
        info: ValidPathInfo { path, info },
    }
}

fn realisation(output: &str, path: &StorePath) -> Realisation {
    Realisation {
        id: DrvOutput {
            drv_hash: Hash::of(HashAlgo::Sha256, b"drv"),
            output: OutputName::new(output).unwrap(),
        },
        out_path: path.clone(),
        signatures: BTreeSet::new(),
        dependent_realisations: Default::default(),
    }
}

#[test]
fn outputs_and_realisations_appear_together() {
    for durability in [Durability::None, Durability::Ordered] {
        for files in [1, 40] {
            let fixture = fixture(durability);
            let private = fixture.store.private_dir().unwrap();
            let (a, b) = (path('a', "a"), path('b', "b"));
            let mut first = output(&private, a.clone(), files);
            first.info.info.references = [b.clone()].into();
            let second = output(&private, b.clone(), files);
            let rows = [realisation("a", &a), realisation("b", &b)];
            fixture
                .store
                .register_outputs(&[first, second], &rows)
                .unwrap();
            assert_eq!(
                fixture.store.query_references(&a).unwrap(),
                [b.clone()].into()
            );
            for row in &rows {
                let found = fixture.store.db().query_realisation(&row.id).unwrap();
                assert_eq!(found, Some((row.out_path.clone(), BTreeSet::new())));
            }
            drop(private);
            assert_eq!(fixture.names(), [a.base_name(), b.base_name()]);
        }
    }
}

#[test]
fn a_failure_takes_every_output_back() {
    let fixture = fixture(Durability::None);
    let private = fixture.store.private_dir().unwrap();
    let good = output(&private, path('a', "a"), 1);
    let mut bad = output(&private, path('b', "b"), 1);
    bad.info.info.references = [path('f', "missing")].into();
    let error = fixture.store.register_outputs(&[good.clone(), bad], &[]);
    assert!(error.unwrap_err().is_not_valid());
    assert_eq!(fixture.names(), Vec::<String>::new());
    assert_eq!(
        fixture.store.query_all_valid().unwrap(),
        StorePathSet::new()
    );
    // They are where they were, and can be tried again.
    fixture.store.register_outputs(&[good], &[]).unwrap();
    assert_eq!(fixture.names(), [path('a', "a").base_name()]);
}

#[test]
fn a_bad_realisation_takes_the_paths_back_too() {
    let fixture = fixture(Durability::None);
    let private = fixture.store.private_dir().unwrap();
    let good = output(&private, path('a', "a"), 1);
    let row = realisation("out", &path('f', "missing"));
    fixture.store.register_outputs(&[good], &[row]).unwrap_err();
    assert_eq!(fixture.names(), Vec::<String>::new());
    assert_eq!(
        fixture.store.query_all_valid().unwrap(),
        StorePathSet::new()
    );
}

#[test]
fn a_wrong_content_address_is_refused() {
    let fixture = fixture(Durability::None);
    let private = fixture.store.private_dir().unwrap();
    let mut wrong = output(&private, path('a', "a"), 1);
    wrong.info.info.ca = Some(ContentAddress {
        method: nix_base::ContentAddressMethod::Flat,
        hash: Hash::of(HashAlgo::Sha256, b"x"),
    });
    fixture.store.register_outputs(&[wrong], &[]).unwrap_err();
    assert_eq!(fixture.names(), Vec::<String>::new());
}

#[test]
fn a_valid_path_is_never_touched() {
    let fixture = fixture(Durability::None);
    let private = fixture.store.private_dir().unwrap();
    let a = path('a', "a");
    fixture
        .store
        .register_outputs(&[output(&private, a.clone(), 1)], &[])
        .unwrap();
    drop(private);
    let real = fixture.store.layout().real_path(&a);
    let before = fs::metadata(&real).unwrap();
    let private = fixture.store.private_dir().unwrap();
    let again = output(&private, a.clone(), 3);
    let mut bad = output(&private, path('b', "b"), 1);
    bad.info.info.references = [path('f', "missing")].into();
    fixture
        .store
        .register_outputs(&[again.clone(), bad], &[])
        .unwrap_err();
    fixture.store.register_outputs(&[again], &[]).unwrap();
    fixture.store.remove_invalid(&a).unwrap();
    let after = fs::metadata(&real).unwrap();
    assert_eq!((before.ino(), before.nlink()), (after.ino(), after.nlink()));
    assert_eq!(fs::read_dir(&real).unwrap().count(), 1);
}

#[test]
fn leftovers_are_removed_and_replaced() {
    let fixture = fixture(Durability::None);
    let (a, b) = (path('a', "a"), path('b', "b"));
    for path in [&a, &b] {
        fs::create_dir_all(fixture.store.layout().real_path(path).join("left/over")).unwrap();
    }
    fixture.store.remove_invalid(&a).unwrap();
    fixture.store.remove_invalid(&a).unwrap();
    assert_eq!(fixture.names(), [b.base_name()]);
    let private = fixture.store.private_dir().unwrap();
    fixture
        .store
        .register_outputs(&[output(&private, b.clone(), 1)], &[])
        .unwrap();
    assert!(fixture.store.is_valid(&b).unwrap());
    assert_eq!(
        fs::read_dir(fixture.store.layout().real_path(&b))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn realisations_are_replaced_and_go_with_their_path() {
    let fixture = fixture(Durability::None);
    let private = fixture.store.private_dir().unwrap();
    let (a, b) = (path('a', "a"), path('b', "b"));
    let outputs = [
        output(&private, a.clone(), 1),
        output(&private, b.clone(), 1),
    ];
    fixture
        .store
        .register_outputs(&outputs, &[realisation("out", &a)])
        .unwrap();
    let mut row = realisation("out", &b);
    row.signatures = [nix_base::Signature::verbatim("k:AAAA").unwrap()].into();
    row.dependent_realisations.insert(row.id.clone(), b.clone());
    fixture
        .store
        .register_realisations(std::slice::from_ref(&row))
        .unwrap();
    let found = fixture.store.db().query_realisation(&row.id).unwrap();
    assert_eq!(found, Some((b.clone(), row.signatures.clone())));
    fixture.store.db().invalidate(&b).unwrap();
    assert_eq!(fixture.store.db().query_realisation(&row.id).unwrap(), None);
}

#[test]
fn a_private_directory_is_pinned_closed_and_gone_afterwards() {
    let fixture = fixture(Durability::None);
    let private = fixture.store.private_dir().unwrap();
    let place = private.path().to_owned();
    assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o700);
    let base = place.file_name().unwrap().to_str().unwrap();
    StorePath::from_base_name(base).unwrap();
    let roots = fs::read_dir(fixture.store.layout().temp_roots_dir()).unwrap();
    let pinned = roots
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .any(|text| text.contains(base));
    assert!(pinned);
    fs::create_dir_all(place.join("a/b/c")).unwrap();
    fs::set_permissions(
        place.join("a"),
        std::os::unix::fs::PermissionsExt::from_mode(0o0),
    )
    .unwrap();
    drop(private);
    fs::symlink_metadata(&place).unwrap_err();
}
