//! Tests of this module.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use super::super::flock::{LockMode, Wait};
use super::super::gc_lock::GcLock;
use super::super::testing::{store_path, wait_until};
use super::*;

struct Fixture {
    state: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        Self { state }
    }

    fn roots(&self) -> TempRoots {
        TempRoots::new(self.state.path(), "/nix/store")
    }

    /// What a collector would read.
    fn recorded(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.state.path().join("temproots")) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            found.extend(text.split_terminator('\0').map(str::to_owned));
        }
        found
    }

    fn collector(&self) -> Collector<'_> {
        let lock = GcLock::acquire(self.state.path(), LockMode::Exclusive, Wait::Never);
        Collector {
            fixture: self,
            _lock: lock.unwrap().expect("no other collector"),
        }
    }
}

/// Holds the collector lock and speaks on the socket. It lives in the scope of the owner's thread,
/// so that a failed test lets the owner go.
struct Collector<'a> {
    fixture: &'a Fixture,
    _lock: GcLock,
}

impl Collector<'_> {
    fn listen(&self) -> UnixListener {
        let dir = self.fixture.state.path().join("gc-socket");
        std::fs::create_dir(&dir).unwrap();
        UnixListener::bind(dir.join("socket")).unwrap()
    }

    /// Answers `count` lines, each of which must be on record already, and returns them.
    fn answer(&self, client: &mut BufReader<UnixStream>, count: usize) -> Vec<String> {
        let mut heard = Vec::new();
        for _ in 0..count {
            let mut line = String::new();
            client.read_line(&mut line).unwrap();
            let path = line.trim_end_matches('\n').to_owned();
            let recorded = self.fixture.recorded();
            assert!(recorded.contains(&path), "announced before it was recorded");
            heard.push(path);
            client.get_mut().write_all(b"1").unwrap();
        }
        heard
    }
}

/// The next caller; fails when nobody comes or a caller says nothing for half a minute.
fn accept(listener: &UnixListener) -> BufReader<UnixStream> {
    listener.set_nonblocking(true).unwrap();
    let mut caller = None;
    wait_until(|| {
        caller = listener.accept().ok();
        caller.is_some()
    });
    let (stream, _) = caller.unwrap();
    stream.set_nonblocking(false).unwrap();
    let patience = Duration::from_secs(30);
    stream.set_read_timeout(Some(patience)).unwrap();
    BufReader::new(stream)
}

#[test]
fn nothing_is_opened_before_the_first_root() {
    let f = Fixture::new();
    let mut roots = f.roots();
    roots.add([]).unwrap();
    assert!(roots.file_path().is_none() && roots.is_empty());
    assert_eq!(std::fs::read_dir(f.state.path()).unwrap().count(), 0);
}

#[test]
fn records_each_path_once_and_removes_the_file() {
    let f = Fixture::new();
    let paths = [1, 2, 1].map(store_path);
    let mut roots = f.roots();
    roots.add(paths.iter().map(String::as_str)).unwrap();
    roots.add(paths.iter().map(String::as_str)).unwrap();
    assert_eq!(f.recorded(), [store_path(1), store_path(2)]);
    assert_eq!(roots.len(), 2);
    assert!(roots.contains(&store_path(2)) && !roots.contains(&store_path(3)));

    let file = roots.file_path().unwrap().to_owned();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let name = file.file_name().unwrap().to_str().unwrap();
    let (pid, random) = name.split_once('-').unwrap();
    assert_eq!(pid, std::process::id().to_string());
    assert_eq!(random.len(), 16);
    drop(roots);
    assert!(!file.try_exists().unwrap());
}

#[test]
fn records_batches_longer_than_one_write() {
    let f = Fixture::new();
    let paths: Vec<_> = (0..20_000)
        .map(|n| format!("/nix/store/{n:0>32}-a-name-of-ordinary-length-1.0"))
        .collect();
    let mut roots = f.roots();
    roots.add(paths.iter().map(String::as_str)).unwrap();
    assert_eq!(f.recorded(), paths);
}

#[test]
fn refuses_what_is_not_in_the_store_before_recording_anything() {
    let f = Fixture::new();
    let mut roots = f.roots();
    let good = store_path(1);
    let long = format!("/nix/store/{:0>32}-{}", 1, "x".repeat(212));
    let bad = [
        "",
        "/nix/store",
        "/nix/store/",
        "/nix/store/short-name",
        "/nix/store/0000000000000000000000000000000e-not-a-digit",
        "/nix/store/00000000000000000000000000000001",
        "/nix/store/00000000000000000000000000000001-",
        "/nix/store/00000000000000000000000000000001-a/b",
        "/nix/store/00000000000000000000000000000001-a\0b",
        "/nix/store/00000000000000000000000000000001-a\nb",
        "/nix/store/0000000000000000000000000000000é-a",
        "/nix/store2/00000000000000000000000000000001-a",
        &long,
    ];
    for path in bad {
        let error = roots.add([good.as_str(), path]).unwrap_err();
        assert!(matches!(error, LockError::NotInStore { .. }), "{path:?}");
    }
    assert!(f.recorded().is_empty());
}

#[test]
fn announces_to_a_running_collector_after_recording() {
    let f = Fixture::new();
    let paths: Vec<_> = (0..200).map(|n| format!("/nix/store/{n:0>32}-a")).collect();
    thread::scope(|scope| {
        let collector = f.collector();
        let listener = collector.listen();
        let owner = scope.spawn(|| {
            let mut roots = f.roots();
            roots.add(paths.iter().map(String::as_str)).unwrap();
            roots
        });
        let heard = collector.answer(&mut accept(&listener), paths.len());
        assert_eq!(heard, paths);
        assert_eq!(owner.join().unwrap().len(), 200);
    });
}

#[test]
fn announces_again_what_is_kept_already() {
    let f = Fixture::new();
    let kept = store_path(1);
    let other = store_path(2);
    let mut roots = f.roots();
    roots.add([kept.as_str()]).unwrap();
    thread::scope(|scope| {
        let collector = f.collector();
        let listener = collector.listen();
        let owner = scope.spawn(|| roots.announce_again([kept.as_str(), other.as_str()]));
        let heard = collector.answer(&mut accept(&listener), 1);
        assert_eq!(heard, std::slice::from_ref(&kept));
        owner.join().unwrap().unwrap();
    });
}

#[test]
fn announces_what_was_not_answered_again_when_the_collector_hangs_up() {
    let f = Fixture::new();
    let paths = [1, 2, 3].map(store_path);
    thread::scope(|scope| {
        let collector = f.collector();
        let listener = collector.listen();
        let owner = scope.spawn(|| f.roots().add(paths.iter().map(String::as_str)));
        collector.answer(&mut accept(&listener), 1);
        let second = accept(&listener);
        drop(second);
        let heard = collector.answer(&mut accept(&listener), 2);
        assert_eq!(heard, paths[1..]);
        owner.join().unwrap().unwrap();
    });
}

#[test]
fn waits_for_a_collector_that_does_not_listen_yet() {
    let f = Fixture::new();
    let path = store_path(1);
    thread::scope(|scope| {
        let collector = f.collector();
        let owner = scope.spawn(|| f.roots().add([path.as_str()]));
        wait_until(|| f.recorded().len() == 1);
        let listener = collector.listen();
        collector.answer(&mut accept(&listener), 1);
        owner.join().unwrap().unwrap();
    });
}

#[test]
fn waits_for_the_end_of_a_collector_that_never_listens() {
    let f = Fixture::new();
    let path = store_path(1);
    thread::scope(|scope| {
        let collector = f.collector();
        // Left by a collector that ended: nobody listens on it.
        drop(collector.listen());
        let owner = scope.spawn(|| {
            let mut roots = f.roots();
            roots.add([path.as_str()]).unwrap();
            roots
        });
        wait_until(|| f.recorded().len() == 1);
        assert!(
            !owner.is_finished(),
            "returned while the collector may not know the root"
        );
        drop(collector);
        assert!(owner.join().unwrap().contains(&path));
    });
}

#[test]
fn refuses_an_answer_that_is_not_a_one() {
    let f = Fixture::new();
    let path = store_path(1);
    thread::scope(|scope| {
        let collector = f.collector();
        let listener = collector.listen();
        let owner = scope.spawn(|| {
            let mut roots = f.roots();
            let error = roots.add([path.as_str()]).unwrap_err();
            (error, roots.contains(&path))
        });
        let mut client = accept(&listener);
        client.read_line(&mut String::new()).unwrap();
        client.get_mut().write_all(b"0").unwrap();
        let (error, pinned) = owner.join().unwrap();
        assert!(matches!(error, LockError::BadAnswer { answer: b'0', .. }));
        assert!(!pinned, "a root that nobody confirmed must be added again");
    });
}
