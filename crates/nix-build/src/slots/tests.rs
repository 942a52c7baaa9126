//! Slots among threads and among processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

fn none(_: usize) {
    panic!("a slot is free, so nobody waits");
}

fn take(slots: &Slots) -> Slot {
    slots.acquire(&Cancel::new().unwrap(), &mut none).unwrap()
}

/// Takes a slot on a thread of its own; tells the places, and 0 once it has the slot, which
/// it gives back when the returned sender is dropped.
fn waiter<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    slots: &'s Slots,
    cancel: &Cancel,
) -> (mpsc::Receiver<usize>, mpsc::Sender<()>) {
    let cancel = cancel.clone();
    let (tell, places) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    scope.spawn(move || {
        let got = slots.acquire(&cancel, &mut |place| tell.send(place).unwrap());
        if got.is_ok() {
            tell.send(0).unwrap();
            let _ = released.recv();
        }
    });
    (places, release)
}

/// The next place that differs from `from`.
fn after(places: &mpsc::Receiver<usize>, from: usize) -> usize {
    places.iter().find(|&place| place != from).unwrap()
}

#[test]
fn no_more_than_the_bound_are_held_by_many_threads() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path(), 3).unwrap();
    let (held, most, all) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let slot = slots.acquire(&Cancel::new().unwrap(), &mut |_| {}).unwrap();
                    let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    held.fetch_sub(1, Ordering::SeqCst);
                    drop(slot);
                    all.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(all.into_inner(), 240);
    assert!((1..=3).contains(&most.into_inner()));
}

#[test]
fn who_comes_first_is_served_first_and_told_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path(), 1).unwrap();
    let slot = take(&slots);
    let cancel = Cancel::new().unwrap();
    std::thread::scope(|scope| {
        let (first, release_first) = waiter(scope, &slots, &cancel);
        assert_eq!(first.recv().unwrap(), 1);
        let (second, release_second) = waiter(scope, &slots, &cancel);
        assert_eq!(second.recv().unwrap(), 2);
        let (third, release_third) = waiter(scope, &slots, &cancel);
        assert_eq!(third.recv().unwrap(), 3);
        drop(slot);
        assert_eq!(after(&first, 1), 0);
        assert_eq!(after(&second, 2), 1);
        assert_eq!(after(&third, 3), 2);
        drop(release_first);
        assert_eq!(after(&second, 1), 0);
        assert_eq!(after(&third, 2), 1);
        drop(release_second);
        assert_eq!(after(&third, 1), 0);
        drop(release_third);
    });
}

#[test]
fn who_is_cancelled_leaves_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path(), 1).unwrap();
    let slot = take(&slots);
    let (first, second) = (Cancel::new().unwrap(), Cancel::new().unwrap());
    std::thread::scope(|scope| {
        let (first_places, _release) = waiter(scope, &slots, &first);
        assert_eq!(first_places.recv().unwrap(), 1);
        let (second_places, _release) = waiter(scope, &slots, &second);
        assert_eq!(second_places.recv().unwrap(), 2);
        first.cancel();
        assert!(first_places.recv().is_err());
        assert_eq!(second_places.recv().unwrap(), 1);
        drop(slot);
        assert_eq!(second_places.recv().unwrap(), 0);
    });
    let mut left = Vec::new();
    slots.dir.names(|name| left.push(name.to_owned())).unwrap();
    assert!(
        !left.iter().any(|name| name.starts_with("ticket")),
        "{left:?}"
    );
}

#[test]
fn a_smaller_bound_counts_the_slots_of_larger_ones() {
    let dir = tempfile::tempdir().unwrap();
    let large = Slots::new(dir.path(), 4).unwrap();
    let small = Slots::new(dir.path(), 2).unwrap();
    let mut held: Vec<Slot> = (0..3).map(|_| take(&large)).collect();
    let cancel = Cancel::new().unwrap();
    std::thread::scope(|scope| {
        let (places, release) = waiter(scope, &small, &cancel);
        assert_eq!(places.recv().unwrap(), 1);
        drop(held.remove(0));
        let (behind, release_behind) = waiter(scope, &large, &cancel);
        assert_eq!(behind.recv().unwrap(), 2, "nobody overtakes");
        drop(held.remove(0));
        assert_eq!(after(&places, 1), 0);
        // Two are held now, and four may be.
        assert!(behind.iter().any(|place| place == 0));
        drop((release, release_behind));
    });
}

#[test]
fn without_slots_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path(), 0).unwrap();
    let got = slots.acquire(&Cancel::new().unwrap(), &mut none);
    assert!(matches!(got, Err(SlotsError::None)));
}

#[test]
fn killed_holders_and_waiters_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path(), 1).unwrap();
    let mut holder = Process::start("hold", dir.path());
    assert_eq!(holder.line(), "held");
    let mut dead = Process::start("hold", dir.path());
    assert_eq!(dead.line(), "place 1");
    let cancel = Cancel::new().unwrap();
    std::thread::scope(|scope| {
        let (places, release) = waiter(scope, &slots, &cancel);
        assert_eq!(places.recv().unwrap(), 2);
        dead.kill();
        assert_eq!(places.recv().unwrap(), 1);
        holder.kill();
        assert_eq!(places.recv().unwrap(), 0);
        drop(release);
    });
}

#[test]
fn no_more_than_the_bound_are_held_by_many_processes() {
    let dir = tempfile::tempdir().unwrap();
    let mut all: Vec<Process> = (0..6)
        .map(|_| Process::start("crowd", dir.path()))
        .collect();
    for process in &mut all {
        assert_eq!(process.line(), "ready");
    }
    for process in &mut all {
        process
            .child
            .stdin
            .take()
            .unwrap()
            .write_all(b"go\n")
            .unwrap();
    }
    for mut process in all {
        assert_eq!(process.line(), "done");
        assert!(process.child.wait().unwrap().success());
    }
}

/// This program again, in the role of another process.
struct Process {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(role: &str, state_dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "slots::tests::another_process", "--nocapture"])
            .env("SLOTS_ROLE", role)
            .env("SLOTS_STATE", state_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next line that isn't the test harness's.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.out.read_line(&mut line).unwrap(),
                0,
                "the process ended"
            );
            if let Some((_, told)) = line.trim_end().split_once("told: ") {
                return told.to_owned();
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "told: {line}").unwrap();
    out.flush().unwrap();
}

/// Not a test by itself: what the processes of other tests run.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent test says what to do")]
fn another_process() {
    let Ok(role) = std::env::var("SLOTS_ROLE") else {
        return;
    };
    let state_dir = PathBuf::from(std::env::var_os("SLOTS_STATE").unwrap());
    let cancel = Cancel::new().unwrap();
    let mut line = String::new();
    if role == "hold" {
        let slots = Slots::new(&state_dir, 1).unwrap();
        let mut told = |place| tell(&format!("place {place}"));
        let _slot = slots.acquire(&cancel, &mut told).unwrap();
        tell("held");
        std::io::stdin().read_line(&mut line).unwrap();
        return;
    }
    let slots = Slots::new(&state_dir, 2).unwrap();
    let arena = LockDirectory::create(&state_dir, "arena").unwrap();
    tell("ready");
    std::io::stdin().read_line(&mut line).unwrap();
    for _ in 0..25 {
        let slot = slots.acquire(&cancel, &mut |_| {}).unwrap();
        // Two have room; a third would find none.
        let places = ["a", "b"].map(|name| (arena.open(name).unwrap(), name));
        let taken = places
            .iter()
            .find(|(file, name)| arena.try_lock(file, name).unwrap());
        assert!(taken.is_some(), "more than two hold a slot");
        std::thread::yield_now();
        drop(places);
        drop(slot);
    }
    tell("done");
}
