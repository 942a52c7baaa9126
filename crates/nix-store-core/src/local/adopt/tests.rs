use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix_base::{NarHash, NarHashSink, StoreDir, StorePath, UnkeyedValidPathInfo};
use tempfile::TempDir;

use super::*;
use crate::db::Registration;
use crate::layout::StoreLayout;
use crate::local::StoreConfig;

struct Fixture {
    root: TempDir,
    store: LocalStore,
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    let store = open(&root);
    Fixture { root, store }
}

fn open(root: &TempDir) -> LocalStore {
    let layout = StoreLayout::chroot(StoreDir::default(), root.path());
    LocalStore::init(StoreConfig::new(layout)).unwrap()
}

/// What is said of a path, without its hash.
fn said(name: &str) -> ValidPathInfo {
    let path = StorePath::from_base_name(&format!("{}-{name}", "a".repeat(32))).unwrap();
    let info = UnkeyedValidPathInfo::new(NarHash::from_bytes([0; 32]), 0);
    ValidPathInfo { path, info }
}

impl Fixture {
    /// Puts an object there, and tells what is true of it.
    fn put(&self, info: &ValidPathInfo, contents: &str) -> ValidPathInfo {
        fs::write(self.store.layout().real_path(&info.path), contents).unwrap();
        let mut sink = NarHashSink::new();
        self.store.dump_object(&info.path, &mut sink).unwrap();
        let (hash, size) = sink.finish();
        ValidPathInfo {
            path: info.path.clone(),
            info: UnkeyedValidPathInfo::new(hash, size),
        }
    }

    fn recorded(&self, info: &ValidPathInfo) -> NarHash {
        let found = self.store.db().query_path_info(&info.path).unwrap();
        found.unwrap().info.nar_hash
    }
}

/// Waits until somebody sleeps in `flock` on this file.
fn await_waiter(file: &File) {
    let inode = format!(":{} ", file.metadata().unwrap().ino());
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_waiter = |line: &str| line.contains("-> FLOCK") && line.contains(&inode);
    while !fs::read_to_string("/proc/locks")
        .unwrap()
        .lines()
        .any(is_waiter)
    {
        assert!(Instant::now() < deadline, "nobody waits for the lock");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_there_becomes_valid_as_it_is() {
    let fixture = fixture();
    let info = said("object");
    let truth = fixture.put(&info, "contents");
    fixture
        .store
        .adopt(vec![info.clone()], Measure::Yes, Reregister::No)
        .unwrap();
    assert_eq!(fixture.recorded(&info), truth.info.nar_hash);
    let real = fixture.store.layout().real_path(&info.path);
    let found = fs::metadata(&real).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime()), (0o444, 1));
    let lock = format!("{}.lock", real.display());
    assert!(!fs::exists(lock).unwrap());
}

#[test]
fn paths_that_are_valid_are_registered_again_only_on_demand() {
    let fixture = fixture();
    let info = said("object");
    let truth = fixture.put(&info, "contents");
    fixture
        .store
        .db()
        .register(&[Registration::from(info.clone())])
        .unwrap();
    let adopt = |reregister| {
        let adopted = fixture
            .store
            .adopt(vec![info.clone()], Measure::Yes, reregister);
        adopted.unwrap();
        fixture.recorded(&info)
    };
    assert_eq!(adopt(Reregister::No), info.info.nar_hash);
    assert_eq!(adopt(Reregister::Yes), truth.info.nar_hash);
}

#[test]
fn what_is_registered_is_pinned() {
    let fixture = fixture();
    let info = said("object");
    let truth = fixture.put(&info, "contents");
    fixture.store.register_present(vec![truth]).unwrap();
    let printed = fixture.store.store_dir().print(&info.path);
    assert!(fixture.store.temp_roots.borrow().contains(&printed));
}

#[test]
fn what_another_one_makes_meanwhile_is_left_alone() {
    let fixture = fixture();
    let info = said("object");
    fixture.put(&info, "a leftover");
    let real = fixture.store.layout().real_path(&info.path);
    // As another process would, which is about to put something else there.
    let lock = File::create(format!("{}.lock", real.display())).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    std::thread::scope(|scope| {
        let adopting = scope.spawn(|| {
            let store = open(&fixture.root);
            store.adopt(vec![info.clone()], Measure::Yes, Reregister::No)
        });
        await_waiter(&lock);
        let theirs = fixture.put(&info, "complete");
        fixture
            .store
            .db()
            .register(&[Registration::from(theirs.clone())])
            .unwrap();
        drop(lock);
        adopting.join().unwrap().unwrap();
        assert_eq!(fixture.recorded(&info), theirs.info.nar_hash);
    });
}
