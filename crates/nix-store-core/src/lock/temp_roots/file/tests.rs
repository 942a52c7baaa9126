//! Tests of this module.

use std::io::Write;

use super::super::super::testing::{outsider, outsider_locked, store_path, try_lock};
use super::*;

struct Fixture {
    state: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        Self { state }
    }

    fn unlocked(&self) -> RootsFile {
        let path = self.state.path().join("temproots");
        RootsFile::create_unlocked(open_dir(&path).unwrap(), &path).unwrap()
    }
}

#[test]
fn lock_is_shared_so_that_no_collector_wins_or_waits() {
    let f = Fixture::new();
    let roots = RootsFile::create(f.state.path()).unwrap();
    let collector = outsider(roots.path());
    assert!(!try_lock(&collector, LockMode::Exclusive));
    assert!(try_lock(&collector, LockMode::Shared));
}

#[test]
fn gives_up_a_file_that_a_collector_marked() {
    let f = Fixture::new();
    let roots = f.unlocked();
    let mut collector = outsider_locked(roots.path());
    std::fs::remove_file(roots.path()).unwrap();
    collector.write_all(b"d").unwrap();
    drop(collector);
    assert!(!roots.lock().unwrap());
}

#[test]
fn gives_up_a_file_that_a_collector_unlinked_and_could_not_mark() {
    let f = Fixture::new();
    let roots = f.unlocked();
    std::fs::remove_file(roots.path()).unwrap();
    assert!(!roots.lock().unwrap());
}

#[test]
fn clears_what_a_failed_write_left() {
    let f = Fixture::new();
    let mut roots = RootsFile::create(f.state.path()).unwrap();
    let (first, second) = (store_path(1), store_path(2));
    roots.append(&[&first]).unwrap();
    let half = "/nix/store/a record that a full disk cut off".repeat(9);
    roots.file.write_all_at(half.as_bytes(), roots.end).unwrap();
    roots.torn = true;
    roots.append(&[&second]).unwrap();
    let expected = format!("{first}\0{second}\0");
    assert_eq!(std::fs::read_to_string(roots.path()).unwrap(), expected);
}

#[test]
fn each_store_instance_has_a_file_of_its_own() {
    let f = Fixture::new();
    let one = RootsFile::create(f.state.path()).unwrap();
    let two = RootsFile::create(f.state.path()).unwrap();
    assert_ne!(one.path(), two.path());
    drop(one);
    assert!(two.path().try_exists().unwrap());
}

#[test]
fn thousands_of_instances_leave_no_file() {
    let f = Fixture::new();
    for _ in 0..10_000 {
        drop(RootsFile::create(f.state.path()).unwrap());
    }
    let left = std::fs::read_dir(f.state.path().join("temproots")).unwrap();
    assert_eq!(left.count(), 0);
}
