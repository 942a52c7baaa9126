//! Tests of this module.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::super::TempRoots;
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

    fn collector(&self) -> CollectorLocks {
        CollectorLocks::acquire(self.state.path(), &StoreDir::default(), Wait::Never)
            .unwrap()
            .expect("no other collector")
    }

    fn pin(&self, n: u8) -> TempRoots {
        let mut roots = TempRoots::new(self.state.path(), "/nix/store");
        roots.add([store_path(n).as_str()]).unwrap();
        roots
    }

    fn socket(&self) -> PathBuf {
        self.state.path().join("gc-socket/socket")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream
    }
}

fn hash(n: u8) -> StorePathHash {
    let path = StoreDir::default().parse(store_path(n)).unwrap();
    *path.hash()
}

fn read_answers(stream: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut answers = vec![0; count];
    stream.read_exact(&mut answers).unwrap();
    answers
}

/// Nothing to read now. Whether something comes later is what the tests wait for.
fn is_silent(stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut one: &UnixStream = stream;
    let silent = one
        .read(&mut [0])
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    silent
}

#[test]
fn spares_what_is_on_record() {
    let f = Fixture::new();
    let _owner = f.pin(1);
    let locks = f.collector();
    assert!(locks.begin(&hash(1)).is_none());
    assert!(locks.begin(&hash(2)).is_some());
    assert_eq!(locks.temp_roots(), HashSet::from([hash(1)]));
    assert_eq!(locks.recorded()[0].path, store_path(1));
    assert_eq!(locks.recorded()[0].pid, std::process::id());
}

#[test]
fn spares_what_is_added_while_it_runs() {
    let f = Fixture::new();
    let locks = f.collector();
    assert!(!locks.is_temp_root(&hash(1)));
    // It returns, so it was answered.
    let owner = f.pin(1);
    assert!(locks.is_temp_root(&hash(1)));
    assert!(locks.begin(&hash(1)).is_none());
    // A collector can't know that nobody relies on it any more.
    drop(owner);
    assert!(locks.begin(&hash(1)).is_none());
}

#[test]
fn answers_for_a_path_that_is_being_deleted_when_it_is_gone() {
    let f = Fixture::new();
    let locks = f.collector();
    let pending = locks.begin(&hash(1)).unwrap();
    assert!(locks.begin(&hash(1)).is_none(), "deleted twice");
    thread::scope(|scope| {
        let owner = scope.spawn(|| f.pin(1));
        wait_until(|| locks.is_temp_root(&hash(1)));
        // Others don't wait for it.
        drop(f.pin(2));
        assert!(!owner.is_finished());
        drop(pending);
        owner.join().unwrap();
    });
    assert!(locks.begin(&hash(1)).is_none(), "it is a root by now");
}

#[test]
fn several_paths_are_deleted_at_a_time() {
    let f = Fixture::new();
    let locks = f.collector();
    let mut pending: Vec<_> = (1..=3).map(|n| locks.begin(&hash(n)).unwrap()).collect();
    let mut caller = f.connect();
    for n in [3, 1, 2] {
        writeln!(caller, "{}", store_path(n)).unwrap();
    }
    wait_until(|| locks.is_temp_root(&hash(2)));
    drop(pending.remove(0));
    // Answers come in the order of the lines, and the first line's path is still pending.
    drop(f.pin(1));
    assert!(is_silent(&caller));
    drop(pending.pop());
    assert_eq!(read_answers(&mut caller, 2), b"11");
    assert!(is_silent(&caller));
    drop(pending);
    assert_eq!(read_answers(&mut caller, 1), b"1");
}

#[test]
fn answers_what_is_no_path_and_lines_in_pieces() {
    let f = Fixture::new();
    let locks = f.collector();
    let mut caller = f.connect();
    let text = format!("nonsense\n\n/nix/store/short\n{}\n", store_path(1));
    for piece in text.as_bytes().chunks(7) {
        caller.write_all(piece).unwrap();
    }
    assert_eq!(read_answers(&mut caller, 4), b"1111");
    assert_eq!(locks.temp_roots(), HashSet::from([hash(1)]));
}

#[test]
fn a_caller_that_takes_no_answers_holds_up_nobody_else() {
    let f = Fixture::new();
    let locks = f.collector();
    let mut deaf = f.connect();
    deaf.set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let line = format!("{}\n", store_path(1));
    // Until both buffers are full.
    while deaf.write_all(line.as_bytes()).is_ok() {}
    drop(f.pin(2));
    assert!(locks.is_temp_root(&hash(2)));
}

#[test]
fn a_line_without_an_end_closes_the_connection() {
    let f = Fixture::new();
    let _locks = f.collector();
    let mut caller = f.connect();
    let block = [b'x'; 4096];
    // It may be closed in the middle of a write.
    while caller.write_all(&block).is_ok() {}
    drop(f.pin(1));
}

#[test]
fn a_crowd_of_idle_callers_leaves_room_for_one_more() {
    let f = Fixture::new();
    let locks = f.collector();
    let crowd: Vec<_> = (0..600).map(|_| f.connect()).collect();
    drop(f.pin(1));
    assert!(locks.is_temp_root(&hash(1)));
    drop(crowd);
}

#[test]
fn callers_that_never_end_a_line_take_no_room_from_others() {
    let f = Fixture::new();
    let locks = f.collector();
    let pending = locks.begin(&hash(1)).unwrap();
    let mut waits = f.connect();
    writeln!(waits, "{}", store_path(1)).unwrap();
    wait_until(|| locks.is_temp_root(&hash(1)));
    let begin = |mut caller: UnixStream| {
        // It may be gone again already.
        let _ = caller.write_all(b"/");
        caller
    };
    let crowd: Vec<_> = (0..600).map(|_| begin(f.connect())).collect();
    drop(f.pin(2));
    assert!(locks.is_temp_root(&hash(2)));
    drop((pending, crowd));
    let mut answer = [0];
    std::io::Read::read_exact(&mut waits, &mut answer).unwrap();
    assert_eq!(&answer, b"1", "who waits goes last");
}

#[test]
fn a_caller_that_ends_its_side_gets_its_answers() {
    let f = Fixture::new();
    let locks = f.collector();
    let pending = locks.begin(&hash(1)).unwrap();
    let mut caller = f.connect();
    writeln!(caller, "{}", store_path(1)).unwrap();
    caller.shutdown(std::net::Shutdown::Write).unwrap();
    wait_until(|| locks.is_temp_root(&hash(1)));
    drop(pending);
    let mut answers = String::new();
    BufReader::new(caller).read_line(&mut answers).unwrap();
    assert_eq!(answers, "1");
}

#[test]
fn the_socket_is_for_everybody_and_never_missing() {
    let f = Fixture::new();
    let locks = f.collector();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(f.socket()), 0o666);
    assert_eq!(mode(f.state.path().join("gc-socket")), 0o755);
    drop(locks);
    let left = std::fs::symlink_metadata(f.socket()).unwrap();
    assert!(left.file_type().is_socket());
    assert!(UnixStream::connect(f.socket()).is_err(), "nobody listens");

    let dir = f.state.path().join("gc-socket");
    std::fs::write(dir.join(".socket-of-a-killed-one"), "").unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let watcher = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut missing = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                missing += usize::from(f.socket().symlink_metadata().is_err());
            }
            missing
        });
        for _ in 0..50 {
            drop(f.collector());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert_eq!(watcher, 0, "times without a socket");
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1, "leftovers");
}

#[test]
fn listens_on_a_path_that_no_socket_address_can_hold() {
    let f = Fixture::new();
    let deep = f.state.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let locks = CollectorLocks::acquire(&deep, &StoreDir::default(), Wait::Never)
        .unwrap()
        .unwrap();
    let mut roots = TempRoots::new(&deep, "/nix/store");
    roots.add([store_path(1).as_str()]).unwrap();
    assert!(locks.is_temp_root(&hash(1)));
}

#[test]
fn there_is_one_collector_at_a_time() {
    let f = Fixture::new();
    let locks = f.collector();
    let second = CollectorLocks::acquire(f.state.path(), &StoreDir::default(), Wait::Never);
    assert!(second.unwrap().is_none());
    // The first one still answers.
    drop(f.pin(1));
    drop(locks);
    drop(f.collector());
}

#[test]
fn callers_whose_answers_never_come_wait_for_the_end() {
    let f = Fixture::new();
    let locks = f.collector();
    let pending = locks.begin(&hash(1)).unwrap();
    thread::scope(|scope| {
        let owner = scope.spawn(|| f.pin(1));
        wait_until(|| locks.is_temp_root(&hash(1)));
        // As when a collection is cut short by an error.
        drop(locks);
        owner.join().unwrap();
    });
    drop(pending);
}
