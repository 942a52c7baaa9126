//! Tests of this module.

use std::fs;

use super::super::super::testing::{outsider, outsider_locked, store_path, try_lock};
use super::super::TempRoots;
use super::*;

struct Fixture {
    state: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("temproots")).unwrap();
        Self { state }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.path().join("temproots").join(name)
    }

    fn write(&self, name: &str, records: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, records).unwrap();
        path
    }

    fn scan(&self) -> Result<TempRootsScan> {
        TempRootsScan::read(self.state.path(), &StoreDir::default())
    }

    fn found(&self) -> Vec<(u32, String)> {
        let scan = self.scan().unwrap();
        let roots = scan.roots().iter();
        roots.map(|root| (root.pid, root.path.clone())).collect()
    }
}

fn record(n: u8) -> String {
    store_path(n) + "\0"
}

#[test]
fn without_a_directory_there_are_none() {
    let state = tempfile::tempdir().unwrap();
    let scan = TempRootsScan::read(state.path(), &StoreDir::default()).unwrap();
    assert!(scan.roots().is_empty());
}

#[test]
fn reads_owners_of_all_kinds_and_removes_the_files_of_the_dead() {
    let f = Fixture::new();
    // Nix since 2.5 holds its lock exclusively for life, older ones hold it shared.
    let newer = f.write("11", record(1) + &record(2));
    let older = f.write("22", record(3));
    let dead = f.write("33", record(4));
    f.write("44-0123456789abcdef", record(5));
    let _newer = outsider_locked(&newer);
    let _older = outsider(&older);
    assert!(try_lock(&_older, LockMode::Shared));
    let mut ours = TempRoots::new(f.state.path(), "/nix/store");
    ours.add([store_path(6).as_str()]).unwrap();

    let mut found = f.found();
    found.sort();
    let us = std::process::id();
    let mut expected = vec![
        (11, store_path(1)),
        (11, store_path(2)),
        (22, store_path(3)),
        (us, store_path(6)),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert!(!dead.try_exists().unwrap());
    assert!(!f.file("44-0123456789abcdef").try_exists().unwrap());
    assert_eq!(f.found().len(), 4);
}

#[test]
fn keeps_old_owners_from_recording_more_until_the_end() {
    let f = Fixture::new();
    let path = f.write("22", record(1));
    let owner = outsider(&path);
    assert!(try_lock(&owner, LockMode::Shared));
    let scan = f.scan().unwrap();
    assert!(!try_lock(&owner, LockMode::Exclusive), "could append");
    // The failed upgrade took the owner's shared lock away, as flock(2) warns.
    assert!(try_lock(&owner, LockMode::Shared));
    drop(scan);
    assert!(try_lock(&owner, LockMode::Exclusive));
}

#[test]
fn lets_our_own_owners_record_more() {
    let f = Fixture::new();
    let mut ours = TempRoots::new(f.state.path(), "/nix/store");
    ours.add([store_path(1).as_str()]).unwrap();
    let scan = f.scan().unwrap();
    assert_eq!(scan.roots().len(), 1);
    let file = outsider(ours.file_path().unwrap());
    drop(ours);
    assert!(try_lock(&file, LockMode::Exclusive), "nobody holds it");
}

#[test]
fn tries_again_while_an_owner_may_be_appending_but_not_for_ever() {
    let f = Fixture::new();
    let owner = |pid: u32| {
        let path = f.write(&pid.to_string(), record(1));
        Live {
            pid,
            file: outsider(&path),
            path,
            has_lock: false,
            is_mute: true,
        }
    };
    let mut live = [owner(22), owner(11)];
    let _for_life = outsider_locked(&live[1].path);
    lock_those_that_were_appending(&mut live).unwrap();
    assert_eq!(live.map(|owner| owner.has_lock), [true, false]);
}

#[test]
fn ignores_a_record_that_is_not_complete() {
    let f = Fixture::new();
    let _owner = outsider_locked(&f.write("11", record(1) + &store_path(2)));
    assert_eq!(f.found(), [(11, store_path(1))]);
}

#[test]
fn refuses_what_makes_real_collectors_fail() {
    let f = Fixture::new();
    let path = f.write("11", record(1) + "/etc/passwd\0");
    let owner = outsider_locked(&path);
    assert!(matches!(f.scan(), Err(LockError::BadRecord { .. })));
    drop(owner);
    // Its owner is dead now.
    assert_eq!(f.found(), []);

    for name in ["roots", "99999999999"] {
        let path = f.write(name, "");
        assert!(matches!(f.scan(), Err(LockError::NoOwner { .. })));
        fs::remove_file(path).unwrap();
    }
    f.write(".hidden", "");
    assert_eq!(f.found(), []);
}

#[test]
fn follows_no_link_and_hangs_on_no_fifo() {
    let f = Fixture::new();
    let target = f.state.path().join("target");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, f.file("11")).unwrap();
    assert!(matches!(f.scan(), Err(LockError::NotRegular { .. })));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    fs::remove_file(f.file("11")).unwrap();

    let (fifo, mode) = (f.file("12"), Mode::RUSR | Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(f.scan(), Err(LockError::NotRegular { .. })));
    assert!(fifo.symlink_metadata().is_ok());
}

#[test]
fn leaves_a_file_that_took_the_name_of_a_stale_one() {
    let f = Fixture::new();
    let path = f.write("11", record(1));
    let stale = fs::File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    f.write("11", record(2));
    let dir = path.parent().unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let fd = rustix::fs::open(dir, flags, Mode::empty()).unwrap();
    assert!(!remove_stale(&fd, "11", &path, &stale).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), record(2));
}

#[test]
fn a_removed_file_is_marked_for_the_owner_that_waits_for_it() {
    let f = Fixture::new();
    let path = f.write("11", "");
    let waiting = fs::File::open(&path).unwrap();
    assert_eq!(f.found(), []);
    let metadata = waiting.metadata().unwrap();
    assert_eq!(metadata.len(), 1);
    assert!(!path.try_exists().unwrap());
}
