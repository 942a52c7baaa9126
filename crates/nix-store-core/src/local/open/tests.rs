use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nix_base::{NarHash, StoreDir, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo};
use tempfile::TempDir;

use super::*;
use crate::store::{Lock, Store};

const HELLO: &str = "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt";

fn config(root: &Path) -> StoreConfig {
    StoreConfig::new(StoreLayout::chroot(StoreDir::default(), root))
}

fn made() -> (TempDir, StoreConfig) {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path());
    drop(LocalStore::init(config.clone()).unwrap());
    (root, config)
}

fn read_only(config: &StoreConfig) -> StoreConfig {
    StoreConfig {
        access: Access::ReadOnly,
        ..config.clone()
    }
}

fn hello() -> ValidPathInfo {
    ValidPathInfo {
        path: StoreDir::default().parse(HELLO).unwrap(),
        info: UnkeyedValidPathInfo::new(NarHash::of(b""), 1),
    }
}

/// Every file below a directory with its content, or the hash of a long one.
fn tree(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().display().to_string();
            if path.symlink_metadata().unwrap().is_dir() {
                queue.push(path);
                found.push((name, String::new()));
                continue;
            }
            let content = fs::read(&path).unwrap_or_default();
            found.push(match content.len() {
                0..100 => (name, String::from_utf8_lossy(&content).into_owned()),
                _ => (name, NarHash::of(&content).to_base16()),
            });
        }
    }
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn new_store_has_what_real_nix_expects() {
    let (_root, config) = made();
    let layout = &config.layout;
    assert_eq!(fs::read(layout.schema_file()).unwrap(), b"10");
    for dir in [
        layout.links_dir(),
        layout.db_dir(),
        layout.temp_roots_dir(),
        layout.gc_roots_dir(),
        layout.profiles_dir(),
    ] {
        assert!(fs::symlink_metadata(&dir).unwrap().is_dir());
        assert_eq!(mode(&dir) & 0o7022, 0, "{}", dir.display());
    }
    let link = layout.gc_roots_dir().join("profiles");
    assert_eq!(fs::read_link(link).unwrap(), layout.profiles_dir());
    assert_eq!(mode(&layout.big_lock()), 0o600);
    assert_eq!(mode(&layout.db_file()) & 0o7133, 0);
    let leftovers = tree(&layout.state);
    assert!(
        leftovers.iter().all(|(name, _)| !name.starts_with('.')),
        "{leftovers:?}"
    );
}

#[test]
fn opening_again_finds_what_was_registered() {
    let (_root, config) = made();
    let store = LocalStore::open(config.clone()).unwrap();
    store.db().register(&[hello().into()]).unwrap();
    drop(store);
    for config in [read_only(&config), config] {
        let store = LocalStore::open(config).unwrap();
        assert!(store.is_valid(&hello().path).unwrap());
    }
}

#[test]
fn without_create_nothing_is_made() {
    let root = tempfile::tempdir().unwrap();
    for access in [Access::ReadWrite, Access::ReadOnly, Access::Auto] {
        let error = LocalStore::open(StoreConfig {
            access,
            ..config(root.path())
        })
        .unwrap_err();
        assert!(error.is_no_store(), "{error:?}");
    }
    assert_eq!(tree(root.path()), []);
}

#[test]
fn other_schemas_are_refused_and_left_alone() {
    let (_root, config) = made();
    let file = config.layout.schema_file();
    for (text, message) in [
        (
            "11",
            "current Nix store schema is version 11, but I only support 10: use a newer release of this program",
        ),
        (
            "7",
            "current Nix store schema is version 7, but I only support 10: let Nix 2.3 or later open the store once, which upgrades it",
        ),
        ("10\n", "is corrupt"),
        (" 10", "is corrupt"),
        ("+10", "is corrupt"),
        ("", "is corrupt"),
        ("99999999999999999999", "is corrupt"),
    ] {
        fs::write(&file, text).unwrap();
        let before = tree(&config.layout.state);
        for config in [read_only(&config), config.clone()] {
            let error = LocalStore::init(config).unwrap_err();
            assert!(error.to_string().contains(message), "{text:?}: {error}");
        }
        assert_eq!(tree(&config.layout.state), before, "{text:?}");
    }
}

#[test]
fn store_without_its_tables_is_refused() {
    let (_root, config) = made();
    fs::remove_file(config.layout.db_file()).unwrap();
    let error = LocalStore::init(config.clone()).unwrap_err();
    insta::with_settings!({filters => [(r"'/.*/nix/var", "'ROOT/nix/var")]}, {
        insta::assert_snapshot!(
            error,
            @"database 'ROOT/nix/var/nix/db/db.sqlite' is missing although there is a schema file: restore it from a backup"
        );
    });
    fs::write(config.layout.db_file(), "").unwrap();
    let error = LocalStore::init(config).unwrap_err();
    assert!(matches!(error, Error::MissingTable { .. }), "{error:?}");
}

#[test]
fn half_made_store_is_completed() {
    let (_root, config) = made();
    fs::remove_file(config.layout.schema_file()).unwrap();
    fs::remove_dir(config.layout.temp_roots_dir()).unwrap();
    let store = LocalStore::init(config.clone()).unwrap();
    store.db().register(&[hello().into()]).unwrap();
    assert_eq!(fs::read(config.layout.schema_file()).unwrap(), b"10");
}

#[test]
fn symlinked_store_is_refused_unless_allowed() {
    let (root, _) = made();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    symlink(root.path(), &link).unwrap();
    let config = config(&link);
    let error = LocalStore::open(config.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the path '{}' is a symlink; this is not allowed for the Nix store and its parent directories",
            link.display()
        )
    );
    LocalStore::open(StoreConfig {
        allow_symlinked_store: true,
        ..config
    })
    .unwrap();
}

#[test]
fn state_that_everyone_can_change_is_refused() {
    let (_root, config) = made();
    let dir = config.layout.db_dir();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = LocalStore::open(config).unwrap_err();
    assert!(matches!(error, Error::Insecure { path, .. } if path == dir));
}

#[test]
fn database_that_is_a_symlink_is_refused() {
    let (_root, config) = made();
    let file = config.layout.db_file();
    let moved = config.layout.state.join("moved");
    fs::rename(&file, &moved).unwrap();
    symlink(&moved, &file).unwrap();
    let error = LocalStore::open(config).unwrap_err();
    assert!(matches!(error, Error::Insecure { path, .. } if path == file));
}

#[test]
fn writes_to_a_store_open_for_reading_are_refused() {
    let (_root, config) = made();
    let store = LocalStore::open(read_only(&config)).unwrap();
    let wanted = StorePathSet::from([hello().path]);
    let error = store.query_valid_paths(&wanted, Lock::Yes).unwrap_err();
    assert!(error.is_read_only(), "{error:?}");
    let error = store.db().register(&[hello().into()]).unwrap_err();
    assert!(error.is_read_only(), "{error:?}");
    assert!(
        store
            .query_valid_paths(&wanted, Lock::No)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn temp_roots_last_as_long_as_the_store() {
    let (_root, config) = made();
    let store = LocalStore::open(config.clone()).unwrap();
    store
        .add_temp_roots(&StorePathSet::from([hello().path]))
        .unwrap();
    let files = |layout: &StoreLayout| tree(&layout.temp_roots_dir());
    let [(_, content)] = &files(&config.layout)[..] else {
        panic!("one file was expected");
    };
    assert_eq!(content, &format!("{HELLO}\0"));
    drop(store);
    assert_eq!(files(&config.layout), []);
}

#[test]
fn many_threads_make_one_store() {
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| LocalStore::init(config(root.path())).map(drop).unwrap());
        }
    });
    LocalStore::open(config(root.path())).unwrap();
}

#[test]
fn group_of_builders_may_make_files_in_the_store() {
    let (_root, config) = made();
    let store = config.layout.real_store.clone();
    let before = mode(&store);
    let group = "root";
    LocalStore::open(StoreConfig {
        build_users_group: Some("no-such-group-here".to_owned()),
        ..config.clone()
    })
    .unwrap();
    assert_eq!(mode(&store), before);
    LocalStore::open(StoreConfig {
        build_users_group: Some(group.to_owned()),
        ..config
    })
    .unwrap();
    if geteuid().is_root() {
        assert_eq!(mode(&store), 0o1775);
    } else {
        assert_eq!(mode(&store), before, "only root gives the store away");
    }
}
