//! Tests of this module.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::inotify;

use super::super::testing::{
    base_name, has_waiter, outsider, outsider_locked, try_lock, wait_until,
};
use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    locks: LockDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let locks = LockDir::open(dir.path()).unwrap();
        Self { dir, locks }
    }

    fn file(&self, n: u8) -> PathBuf {
        self.dir.path().join(format!("{}.lock", base_name(n)))
    }

    fn take(&self, n: u8) -> Option<PathLock> {
        self.locks.lock(&base_name(n), Wait::Never).unwrap()
    }
}

#[test]
fn leaves_an_empty_private_file_unless_removal_is_requested() {
    let f = Fixture::new();
    drop(f.take(1).unwrap());
    let metadata = std::fs::symlink_metadata(f.file(1)).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o7777), (0, 0o600));

    let mut lock = f.take(1).unwrap();
    lock.request_removal();
    lock.release().unwrap();
    assert!(!f.file(1).try_exists().unwrap());
}

#[test]
fn excludes_another_process_and_is_excluded_by_it() {
    let f = Fixture::new();
    let lock = f.take(1).unwrap();
    assert!(!try_lock(&outsider(&f.file(1)), LockMode::Exclusive));
    drop(lock);
    let other = outsider_locked(&f.file(1));
    assert!(f.take(1).is_none());
    drop(other);
    assert!(f.take(1).is_some());
}

#[test]
fn gives_up_at_the_deadline() {
    let f = Fixture::new();
    let _other = outsider_locked(&f.file(1));
    let deadline = Instant::now() + Duration::from_millis(20);
    let taken = f.locks.lock(&base_name(1), Wait::Until(deadline)).unwrap();
    assert!(taken.is_none());
    assert!(Instant::now() >= deadline);
}

#[test]
fn gives_up_at_the_deadline_beside_another_thread() {
    let f = Fixture::new();
    let _held = f.take(1).unwrap();
    let deadline = Instant::now() + Duration::from_millis(20);
    let wait = Wait::Until(deadline);
    let taken = thread::scope(|scope| {
        let waiter = scope.spawn(|| f.locks.lock(&base_name(1), wait).unwrap().is_some());
        waiter.join().unwrap()
    });
    assert!(!taken);
    assert!(Instant::now() >= deadline);
}

#[test]
fn takes_the_lock_before_the_deadline() {
    let f = Fixture::new();
    let other = outsider_locked(&f.file(1));
    let wait = Wait::Until(Instant::now() + Duration::from_secs(600));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| f.locks.lock(&base_name(1), wait).unwrap().is_some());
        drop(other);
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn never_waits_for_the_own_thread() {
    let f = Fixture::new();
    let again = LockDir::open(f.dir.path()).unwrap();
    let held = f.take(1).unwrap();
    let error = again.lock(&base_name(1), Wait::Forever).unwrap_err();
    assert!(error.is_already_held());
    assert!(again.lock(&base_name(1), Wait::Never).unwrap().is_none());
    // Another path, and the same path once it is free, are no one's business.
    assert!(again.lock(&base_name(2), Wait::Forever).unwrap().is_some());
    drop(held);
    assert!(again.lock(&base_name(1), Wait::Forever).unwrap().is_some());
}

#[test]
fn threads_take_turns_and_hold_the_file_one_at_a_time() {
    let f = Fixture::new();
    let inside = std::sync::atomic::AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let locks = LockDir::open(f.dir.path()).unwrap();
                for turn in 0..50 {
                    let mut lock = locks.lock(&base_name(1), Wait::Forever).unwrap().unwrap();
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    if turn % 2 == 0 {
                        lock.request_removal();
                    }
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    lock.release().unwrap();
                }
            });
        }
    });
}

/// What the owner before us did when it went.
fn removed_under_a_waiter(mark: bool) {
    let f = Fixture::new();
    let mut old = outsider_locked(&f.file(1));
    thread::scope(|scope| {
        let (sender, taken) = mpsc::channel();
        let waiter = scope.spawn({
            let f = &f;
            move || {
                let lock = f.locks.lock(&base_name(1), Wait::Forever).unwrap();
                sender.send(()).unwrap();
                drop(lock);
            }
        });
        wait_until(|| has_waiter(&old));
        std::fs::remove_file(f.file(1)).unwrap();
        if mark {
            old.write_all(b"d").unwrap();
        }
        let new = outsider_locked(&f.file(1));
        drop(old);
        // The waiter gets the lock of the old inode now. It must go on to wait for the new one.
        wait_until(|| has_waiter(&new) || waiter.is_finished());
        assert!(
            taken.try_recv().is_err(),
            "holds the lock of a removed file"
        );
        drop(new);
        taken.recv().unwrap();
    });
}

#[test]
fn starts_again_when_the_owner_before_removed_the_file() {
    removed_under_a_waiter(true);
}

#[test]
fn starts_again_when_the_owner_before_died_between_unlink_and_mark() {
    removed_under_a_waiter(false);
}

#[test]
fn unlinks_before_it_marks() {
    let f = Fixture::new();
    let mut lock = f.take(1).unwrap();
    let events = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let dir = inotify::add_watch(&events, f.dir.path(), inotify::WatchFlags::DELETE).unwrap();
    let file = inotify::add_watch(&events, f.file(1), inotify::WatchFlags::MODIFY).unwrap();
    lock.request_removal();
    lock.release().unwrap();

    let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
    let mut reader = inotify::Reader::new(&events, &mut buffer);
    let mut seen = Vec::new();
    while let Ok(event) = reader.next() {
        if [dir, file].contains(&event.wd())
            && !event.events().contains(inotify::ReadFlags::IGNORED)
        {
            seen.push(event.wd());
        }
    }
    assert_eq!(
        seen,
        [dir, file],
        "the name must be gone before the mark is written"
    );
}

#[test]
fn replaces_a_linked_file_that_is_not_empty() {
    let f = Fixture::new();
    std::fs::write(f.file(1), "4711\n").unwrap();
    let lock = f.take(1).unwrap();
    assert_eq!(std::fs::metadata(f.file(1)).unwrap().len(), 0);
    assert!(!try_lock(&outsider(&f.file(1)), LockMode::Exclusive));
    drop(lock);
}

#[test]
fn leaves_a_spoilt_file_to_whoever_holds_it() {
    let f = Fixture::new();
    std::fs::write(f.file(1), "4711\n").unwrap();
    let _other = outsider_locked(&f.file(1));
    assert!(f.take(1).is_none());
    assert_eq!(std::fs::read(f.file(1)).unwrap(), b"4711\n");
}

#[test]
fn keeps_a_new_file_that_took_the_name_of_a_spoilt_one() {
    let f = Fixture::new();
    std::fs::write(f.file(1), "4711\n").unwrap();
    let stat = rustix::fs::stat(f.file(1)).unwrap();
    let kept = f.dir.path().join("kept");
    std::fs::rename(f.file(1), kept).unwrap();
    let _new = outsider_locked(&f.file(1));
    let name: Arc<std::ffi::CStr> = f.locks.file_name(&base_name(1)).unwrap().into();
    let Claiming::Got(claim) = Claim::take((0, 0, name), Wait::Never, || {}) else {
        panic!("nobody else uses this key");
    };
    f.locks.remove_spoilt(&claim, &stat).unwrap();
    assert!(f.file(1).try_exists().unwrap());
}

#[test]
fn refuses_a_symlink_and_leaves_its_target_alone() {
    let f = Fixture::new();
    let target = f.dir.path().join("target");
    std::os::unix::fs::symlink(&target, f.file(1)).unwrap();
    let error = f.locks.lock(&base_name(1), Wait::Never).unwrap_err();
    assert!(matches!(
        error,
        LockError::Io {
            operation: "open lock file",
            ..
        }
    ));
    assert!(!target.try_exists().unwrap());
}

#[test]
fn refuses_a_fifo_without_hanging() {
    let f = Fixture::new();
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, f.file(1), mode).unwrap();
    let error = f.locks.lock(&base_name(1), Wait::Forever).unwrap_err();
    assert!(matches!(error, LockError::NotRegular { .. }));
}

#[test]
fn refuses_names_that_are_not_file_names() {
    let f = Fixture::new();
    for name in ["", "a/b", "/nix/store/a", "a\0b"] {
        let error = f.locks.lock(name, Wait::Never).unwrap_err();
        assert!(matches!(error, LockError::BadName { .. }), "{name:?}");
    }
}

#[test]
fn locks_all_or_none() {
    let f = Fixture::new();
    let names = [3, 1, 2, 3].map(base_name);
    let names = || names.iter().map(String::as_str);
    let other = outsider_locked(&f.file(3));
    assert!(f.locks.lock_all(names(), Wait::Never).unwrap().is_none());
    drop((f.take(1).unwrap(), f.take(2).unwrap(), other));

    let mut all = f.locks.lock_all(names(), Wait::Never).unwrap().unwrap();
    assert_eq!(all.len(), 3);
    assert!([1, 2, 3].iter().all(|&n| f.take(n).is_none()));
    all.request_removal();
    all.release().unwrap();
    assert_eq!(std::fs::read_dir(f.dir.path()).unwrap().count(), 0);
}

#[test]
fn locks_in_the_order_of_the_paths() {
    let f = Fixture::new();
    // As file names the two sort the other way round, because '-' < '.'.
    let (short, long) = (base_name(1), format!("{}-2", base_name(1)));
    let other = outsider_locked(&f.dir.path().join(format!("{long}.lock")));
    thread::scope(|scope| {
        let names = [long.as_str(), short.as_str()];
        let locks = &f.locks;
        scope.spawn(move || locks.lock_all(names, Wait::Forever).unwrap().is_some());
        wait_until(|| has_waiter(&other));
        assert!(
            f.take(1).is_none(),
            "must hold the first while it waits for the second"
        );
        drop(other);
    });
}
