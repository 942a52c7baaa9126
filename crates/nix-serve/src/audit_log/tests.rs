use std::os::unix::fs::PermissionsExt;

use nix_base::{StoreDir, StorePathSet};

use super::record::Entry;
use super::writer::Rotation;
use super::*;
use crate::server::{Audit, AuditRecord, Refusal, Rule, Verdict};

fn paths() -> StorePathSet {
    ["i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt"
        .parse()
        .unwrap()]
    .into()
}

fn record<'a>(key: &'a str, paths: &'a StorePathSet) -> AuditRecord<'a> {
    AuditRecord {
        key: Some(key),
        command: "AddToStoreNar",
        paths,
        derivation: None,
        bytes: 120,
        build_seconds: 0,
        verdict: Verdict::Allowed,
        refusal: None,
        reason: None,
    }
}

fn entries(dir: &Path, wanted: &Wanted) -> Vec<Entry> {
    let mut entries = Vec::new();
    let add = |_: &str, entry: &Entry| {
        entries.push(entry.clone());
        Ok::<_, std::io::Error>(())
    };
    read_all(dir, wanted, add).unwrap();
    entries
}

#[test]
fn what_is_recorded_is_read_again() {
    let state = tempfile::tempdir().unwrap();
    let log = AuditLog::open(state.path(), StoreDir::default()).unwrap();
    let paths = paths();
    log.record(&record("alice", &paths));
    let refusal = Refusal::new(Rule::Evidence, "no\nproof\x1b[2J").unless("build-any");
    log.record(&AuditRecord {
        verdict: Verdict::Refused,
        refusal: Some(&refusal),
        ..record("bob", &paths)
    });
    let dir = directory(state.path());
    let all = entries(&dir, &Wanted::default());
    assert_eq!(all.len(), 2);
    assert_eq!(
        all[0].paths,
        ["/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt"]
    );
    let refused = Wanted {
        refused: true,
        ..Wanted::default()
    };
    assert_eq!(entries(&dir, &refused), [all[1].clone()]);
    let of_alice = Wanted {
        key: Some("alice".to_owned()),
        since: Some(0),
        ..Wanted::default()
    };
    assert_eq!(entries(&dir, &of_alice), [all[0].clone()]);
    let future = Wanted {
        since: Some(u64::MAX),
        ..Wanted::default()
    };
    assert!(entries(&dir, &future).is_empty());
    let line = all[1].summary();
    let (_, line) = line.split_once("  ").unwrap();
    insta::assert_snapshot!(line, @r"bob  AddToStoreNar  refused  /nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt  120 bytes  no proof\u{1b}[2J (SEC-31); build-any would allow it");
}

#[test]
fn nobody_else_can_read_it() {
    let state = tempfile::tempdir().unwrap();
    let _log = AuditLog::open(state.path(), StoreDir::default()).unwrap();
    let dir = directory(state.path());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(CURRENT)), 0o600);
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    std::os::unix::fs::symlink(&target, dir.path().join(CURRENT)).unwrap();
    let rotation = Rotation {
        max_bytes: 1,
        max_files: 1,
    };
    assert!(AuditLog::open_rotating(dir.path(), StoreDir::default(), rotation).is_err());
    assert!(std::fs::symlink_metadata(target).is_err());
}

#[test]
fn full_files_make_room_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let rotation = Rotation {
        max_bytes: 1000,
        max_files: 3,
    };
    let open = || AuditLog::open_rotating(dir.path(), StoreDir::default(), rotation).unwrap();
    let (one, other) = (open(), open());
    let paths = paths();
    for number in 0..200 {
        let log = if number % 3 == 0 { &other } else { &one };
        log.record(&record(&format!("key{number}"), &paths));
    }
    let names = reader::file_names(dir.path()).unwrap();
    assert!(names.len() <= 3, "{names:?}");
    let kept = entries(dir.path(), &Wanted::default());
    let numbers: Vec<u32> = kept
        .iter()
        .map(|entry| entry.key.as_deref().unwrap()[3..].parse().unwrap())
        .collect();
    assert!(numbers.len() > 4 && numbers.last() == Some(&199));
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{numbers:?}"
    );
}

#[test]
fn lines_of_many_servers_never_mix() {
    let dir = tempfile::tempdir().unwrap();
    let rotation = Rotation {
        max_bytes: 20_000,
        max_files: 100,
    };
    let paths = paths();
    std::thread::scope(|scope| {
        for key in ["a", "b", "c", "d"] {
            let (dir, paths) = (dir.path(), &paths);
            scope.spawn(move || {
                let log = AuditLog::open_rotating(dir, StoreDir::default(), rotation).unwrap();
                (0..200).for_each(|_| log.record(&record(key, paths)));
            });
        }
    });
    assert_eq!(entries(dir.path(), &Wanted::default()).len(), 800);
}
