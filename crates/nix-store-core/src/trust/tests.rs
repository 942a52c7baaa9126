use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use nix_base::{NarHash, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo};
use nix_drv::proof::{ProofText, text_hash};
use tempfile::TempDir;

use super::*;
use crate::db::{Db, DbOptions, Durability, JournalMode, OpenMode};

/// A state directory with a store's database.
struct Fresh {
    dir: TempDir,
    store: Db,
    trust: TrustDb,
}

impl Fresh {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Db::open(&DbOptions {
            file: dir.path().join("db.sqlite"),
            store_dir: StoreDir::default(),
            mode: OpenMode::Create,
            durability: Durability::None,
            journal: JournalMode::Wal,
            busy_timeout: Duration::from_secs(60),
        })
        .unwrap();
        store.create_tables().unwrap();
        let trust = TrustDb::open(dir.path()).unwrap();
        Self { dir, store, trust }
    }

    fn register(&self, path: &StorePath, nar_size: u64) {
        let info = UnkeyedValidPathInfo::new(NarHash::of(b""), nar_size);
        let path = path.clone();
        self.store
            .register(&[ValidPathInfo { path, info }.into()])
            .unwrap();
    }

    fn grant(&self, key: &str, paths: &[&StorePath], charge: Charge) {
        self.trust
            .grant(key, &self.store, &set(paths), charge)
            .unwrap();
    }

    fn all_visible(&self, key: &str) -> StorePathSet {
        self.trust.all_visible(key, &self.store).unwrap()
    }

    fn stored(&self, key: &str) -> u64 {
        self.trust.usage(key).unwrap().stored_bytes
    }
}

fn path(name: &str) -> StorePath {
    format!("00bgd045z0d4icpbc2yyz4gx48ak44la-{name}")
        .parse()
        .unwrap()
}

fn text(bytes: &[u8]) -> ProofText {
    ProofText::new(bytes)
}

fn set(paths: &[&StorePath]) -> StorePathSet {
    paths.iter().copied().cloned().collect()
}

#[test]
fn views_of_keys_are_apart() {
    let fresh = Fresh::new();
    let (a, b, c) = (path("a"), path("b"), path("c"));
    for path in [&a, &b] {
        fresh.register(path, 10);
    }
    fresh.grant("one", &[&a, &c], Charge::Size);
    fresh.grant("two", &[&b], Charge::Size);
    assert_eq!(fresh.all_visible("one"), set(&[&a]));
    assert_eq!(fresh.all_visible("two"), set(&[&b]));
    assert_eq!(fresh.all_visible("three"), set(&[]));
    let all = set(&[&a, &b, &c]);
    assert_eq!(
        fresh.trust.visible("two", &fresh.store, &all).unwrap(),
        set(&[&b])
    );
    // A path that wasn't valid when it was granted was not granted.
    fresh.register(&c, 10);
    assert_eq!(fresh.all_visible("one"), set(&[&a]));
}

#[test]
fn what_others_make_valid_again_is_out_of_sight() {
    let fresh = Fresh::new();
    let (a, b) = (path("a"), path("b"));
    fresh.register(&a, 10);
    fresh.register(&b, 10);
    fresh.grant("one", &[&a, &b], Charge::Size);
    // Registered once more without having been invalid, it is still the same.
    fresh.register(&a, 10);
    assert_eq!(fresh.all_visible("one"), set(&[&a, &b]));
    fresh.store.invalidate(&a).unwrap();
    assert_eq!(fresh.all_visible("one"), set(&[&b]));
    fresh.register(&a, 10);
    assert_eq!(fresh.all_visible("one"), set(&[&b]));
    fresh.grant("one", &[&a], Charge::Size);
    assert_eq!(fresh.all_visible("one"), set(&[&a, &b]));
}

#[test]
fn paths_are_charged_once_and_until_they_are_gone() {
    let fresh = Fresh::new();
    let (a, b, c) = (path("a"), path("b"), path("c"));
    fresh.register(&a, 10);
    fresh.register(&b, 200);
    fresh.register(&c, 3000);
    for _ in 0..2 {
        fresh.grant("one", &[&a, &b], Charge::Size);
        fresh.grant("one", &[&a, &c], Charge::Nothing);
        assert_eq!(fresh.stored("one"), 210);
    }
    fresh.grant("one", &[&c], Charge::Size);
    assert_eq!(fresh.stored("one"), 3210);
    assert_eq!(fresh.stored("two"), 0);
    fresh.store.invalidate(&b).unwrap();
    fresh.store.invalidate(&c).unwrap();
    fresh.register(&c, 5000);
    assert_eq!(fresh.stored("one"), 3210);
    fresh.trust.release_gone("one", &fresh.store).unwrap();
    assert_eq!(fresh.stored("one"), 10);
    fresh.trust.release_gone("one", &fresh.store).unwrap();
    assert_eq!(fresh.stored("one"), 10);
    fresh.grant("one", &[&c], Charge::Size);
    assert_eq!(fresh.stored("one"), 5010);
}

#[test]
fn usage_adds_up_and_stays_a_number() {
    let fresh = Fresh::new();
    let more = |stored_bytes, build_seconds| {
        let more = Usage {
            stored_bytes,
            build_seconds,
        };
        fresh.trust.add_usage("one", more).unwrap();
        fresh.trust.usage("one").unwrap()
    };
    assert_eq!(
        more(5, 7),
        Usage {
            stored_bytes: 5,
            build_seconds: 7
        }
    );
    assert_eq!(
        more(1, 1),
        Usage {
            stored_bytes: 6,
            build_seconds: 8
        }
    );
    let most = i64::MAX.unsigned_abs();
    let full = Usage {
        stored_bytes: most,
        build_seconds: most,
    };
    assert_eq!(more(u64::MAX, u64::MAX), full);
    assert_eq!(more(1, u64::MAX), full);
    fresh.trust.reset_build_seconds("one").unwrap();
    assert_eq!(fresh.trust.usage("one").unwrap().build_seconds, 0);
    assert_eq!(fresh.trust.usage("two").unwrap(), Usage::default());
}

#[test]
fn texts_are_known_to_those_who_have_shown_them() {
    let fresh = Fresh::new();
    let (a, b) = (b"a".as_slice(), b"b".as_slice());
    let hashes = BTreeSet::from([text_hash(a), text_hash(b)]);
    let missing = |key: &str| fresh.trust.missing_texts(key, &hashes).unwrap();
    assert_eq!(missing("one"), hashes);
    fresh.trust.add_texts("one", &[text(a)]).unwrap();
    assert_eq!(missing("one"), BTreeSet::from([text_hash(b)]));
    assert_eq!(missing("two"), hashes);
    assert_eq!(
        fresh.trust.text("one", &text_hash(a)).unwrap().as_deref(),
        Some(a)
    );
    assert_eq!(fresh.trust.text("two", &text_hash(a)).unwrap(), None);
    fresh.trust.add_texts("two", &[text(a), text(b)]).unwrap();
    fresh.trust.add_texts("two", &[text(a), text(b)]).unwrap();
    assert_eq!(missing("two"), BTreeSet::new());
    assert_eq!((fresh.stored("one"), fresh.stored("two")), (1, 2));
    let kept: i64 = fresh
        .trust
        .conn
        .query_row("select count(*) from Texts", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 2);
}

#[test]
fn the_oldest_texts_of_a_key_make_room() {
    let fresh = Fresh::new();
    let texts: Vec<Vec<u8>> = (0..10_u8).map(|n| vec![n; 100]).collect();
    fresh.trust.add_texts("two", &[text(&texts[0])]).unwrap();
    for shown in texts.iter().map(|bytes| text(bytes)) {
        fresh.trust.add_texts_within("one", &[shown], 350).unwrap();
    }
    let known = |key: &str| -> Vec<u8> {
        let has = |text: &&Vec<u8>| {
            let found = fresh.trust.text(key, &text_hash(text)).unwrap();
            found.as_ref() == Some(*text)
        };
        texts.iter().filter(has).map(|text| text[0]).collect()
    };
    assert_eq!(known("one"), [7, 8, 9]);
    assert_eq!(known("two"), [0]);
    assert_eq!((fresh.stored("one"), fresh.stored("two")), (300, 100));
    let kept: i64 = fresh
        .trust
        .conn
        .query_row("select count(*) from Texts", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 4);
}

#[test]
fn only_the_owner_can_read_the_files() {
    let fresh = Fresh::new();
    fresh.trust.add_texts("one", &[text(b"a")]).unwrap();
    let dir = fresh.dir.path().join("nix-serve");
    for entry in fs::read_dir(dir).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn rejects_files_that_others_can_lead_astray() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("nix-serve");
    let file = own.join("trust.sqlite");
    let refused = || TrustDb::open(dir.path()).unwrap_err().to_string();
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused().contains("only the store's owner can change"));
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&file, b"").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused().contains("closed to all others"));
    fs::remove_file(&file).unwrap();
    symlink(dir.path().join("elsewhere"), &file).unwrap();
    assert!(refused().contains("not a regular file"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(refused().contains("not a regular file"));
    fs::remove_dir(&file).unwrap();
    TrustDb::open(dir.path()).unwrap();
}

#[test]
fn opens_below_a_link_of_the_operator() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("state")).unwrap();
    TrustDb::open(&dir.path().join("state")).unwrap();
}

#[test]
fn threads_open_and_write_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..4_u8 {
            let dir = dir.path();
            scope.spawn(move || {
                let trust = TrustDb::open(dir).unwrap();
                for round in 0..20_u8 {
                    let texts = [text(&[n, round]), text(b"shared")];
                    trust.add_texts("all", &texts).unwrap();
                    let build_seconds = 1;
                    let more = Usage {
                        build_seconds,
                        ..Usage::default()
                    };
                    trust.add_usage("all", more).unwrap();
                }
            });
        }
    });
    let usage = TrustDb::open(dir.path()).unwrap().usage("all").unwrap();
    assert_eq!(
        usage,
        Usage {
            stored_bytes: 4 * 20 * 2 + 6,
            build_seconds: 80
        }
    );
}

#[test]
fn rejects_the_file_of_a_newer_release() {
    let fresh = Fresh::new();
    fresh
        .trust
        .conn
        .pragma_update(None, "user_version", 2)
        .unwrap();
    let refused = TrustDb::open(fresh.dir.path()).unwrap_err();
    assert!(refused.to_string().contains("has version 2"), "{refused}");
}

#[test]
fn a_killed_opening_leaves_a_file_that_the_next_one_completes() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("nix-serve")).unwrap();
    let file = dir.path().join("nix-serve/trust.sqlite");
    fs::write(&file, b"").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let trust = TrustDb::open(dir.path()).unwrap();
    trust.add_texts("one", &[text(b"a")]).unwrap();
}

#[test]
fn opening_waits_for_no_writer() {
    let fresh = Fresh::new();
    fresh.trust.conn.execute_batch("begin immediate").unwrap();
    let other = TrustDb::open(fresh.dir.path()).unwrap();
    assert_eq!(other.usage("one").unwrap(), Usage::default());
    fresh.trust.conn.execute_batch("rollback").unwrap();
}
