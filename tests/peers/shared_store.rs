//! One store, `nix-serve` and real Nix at work in it at the same time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use test_support::{
    Machine, Message, PathToAdd, Peer, ServeSession, collect_really, poll_until, run_ok,
    verify_with, with_each_release,
};

use crate::sides::{Server, ours_on};

/// How many paths either program adds; real Nix half of them as files, half
/// of them through a server of its own, which pins them.
const PATHS: usize = 500;
/// How many paths go out before the acknowledgements are awaited, and how
/// many files real Nix adds at once.
const BATCH: usize = 20;
/// Every third path that a server took gets a root, while it is pinned: a
/// root of a path that isn't valid yet is passed over by collectors.
const ROOTS: usize = 3;

/// What is known to all threads of a run.
struct Run<'a> {
    machine: &'a Machine,
    peer: &'a Peer,
    imports: Uploads,
    uploads: Uploads,
    /// Names of files that real Nix adds, and the paths that they become.
    files: Vec<(String, String)>,
    files_added: AtomicUsize,
    collections: AtomicUsize,
    finished: AtomicBool,
}

/// Paths that a living server takes one after the other.
struct Uploads {
    paths: Vec<PathToAdd>,
    done: AtomicUsize,
}

impl Uploads {
    fn new(paths: Vec<PathToAdd>) -> Self {
        Self {
            paths,
            done: AtomicUsize::new(0),
        }
    }

    fn rooted(&self) -> impl Iterator<Item = &String> {
        self.names().step_by(ROOTS)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.paths.iter().map(|upload| &upload.path)
    }
}

impl<'a> Run<'a> {
    fn new(machine: &'a Machine, peer: &'a Peer) -> Self {
        Self {
            machine,
            peer,
            imports: Uploads::new(chains("mix", PATHS)),
            uploads: Uploads::new(chains("rnix", PATHS / 2)),
            files: write_files(machine),
            files_added: AtomicUsize::new(0),
            collections: AtomicUsize::new(0),
            finished: AtomicBool::new(false),
        }
    }

    /// Sends all paths in batches, at least one collection apart, so that
    /// the collector meets every stage of the work.
    fn upload(&self, session: &mut ServeSession, uploads: &Uploads) {
        for batch in uploads.paths.chunks(BATCH) {
            let seen = self.collections.load(Ordering::SeqCst);
            let mut request = Message::new();
            batch
                .iter()
                .for_each(|path| request.raw(path.request().as_bytes()));
            session.send(&request);
            for path in batch {
                assert_eq!(session.read_u64(), 1, "acknowledgement of '{}'", path.path);
                let number = uploads.done.load(Ordering::SeqCst);
                if number.is_multiple_of(ROOTS) {
                    self.machine.add_root(base(&path.path), &path.path);
                }
                uploads.done.store(number + 1, Ordering::SeqCst);
            }
            poll_until("a collection between two batches", || {
                let over = self.finished.load(Ordering::SeqCst);
                (over || self.collections.load(Ordering::SeqCst) > seen).then_some(())
            });
        }
    }

    /// Adds files by command; nothing pins them afterwards.
    fn add_files(&self) {
        for batch in self.files.chunks(BATCH) {
            let mut arguments = vec!["--add".to_owned()];
            arguments.extend(batch.iter().map(|(file, _)| file.clone()));
            let printed = run_ok(self.machine.nix_store(self.peer, &arguments));
            let expected: Vec<&String> = batch.iter().map(|(_, path)| path).collect();
            assert_eq!(printed.iter().collect::<Vec<_>>(), expected);
            self.files_added.fetch_add(batch.len(), Ordering::SeqCst);
        }
    }

    fn collect(&self) {
        while !self.finished.load(Ordering::SeqCst) {
            collect_really(self.machine.nix_store(self.peer, ["--gc"]));
            self.collections.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Looks again and again whether something is missing that may not be.
    fn watch(&self) {
        while !self.finished.load(Ordering::SeqCst) {
            self.assert_nothing_missing();
            thread::yield_now();
        }
        self.assert_nothing_missing();
    }

    /// What a living process took has to be there.
    fn assert_nothing_missing(&self) {
        for uploads in [&self.imports, &self.uploads] {
            let done = uploads.done.load(Ordering::SeqCst);
            for path in uploads.names().take(done) {
                let found = self.machine.on_disk(path).symlink_metadata();
                let collections = self.collections.load(Ordering::SeqCst);
                assert!(
                    found.is_ok(),
                    "'{path}' is missing after {collections} collections"
                );
            }
        }
    }
}

fn both_work_in_one_store(peer: &Peer, server: Server<'_>) {
    let machine = Machine::new();
    run_ok(machine.nix_store(peer, ["--init"]));
    let run = Run::new(&machine, peer);
    let mut session = server.session(&machine);
    let mut real = Server::Real(peer).session(&machine);
    thread::scope(|scope| {
        let finished = Finish(&run.finished);
        scope.spawn(|| run.collect());
        scope.spawn(|| run.watch());
        let additions = [
            scope.spawn(|| run.add_files()),
            scope.spawn(|| run.upload(&mut real, &run.uploads)),
        ];
        run.upload(&mut session, &run.imports);
        for thread in additions {
            thread.join().expect("real Nix adds its own");
        }
        drop(finished);
    });
    for (session, uploads) in [(&mut session, &run.imports), (&mut real, &run.uploads)] {
        let all: BTreeSet<String> = uploads.names().cloned().collect();
        assert_eq!(session.query_valid_paths(false, false, &all), all);
    }
    session.finish_ok();
    real.finish_ok();
    verify_with(peer, &machine);
    run_ok(ours_on(&machine, ["verify", "--check-contents"]));
    assert_rooted_outlive_the_connection(&run);
}

/// With nobody left to pin them, what has no root goes, and only that.
fn assert_rooted_outlive_the_connection(run: &Run<'_>) {
    run_ok(run.machine.nix_store(run.peer, ["--gc"]));
    let rooted = run.imports.rooted().chain(run.uploads.rooted());
    let mut session = Server::Real(run.peer).session(run.machine);
    let live = session.query_closure(false, rooted);
    let files = run.files.iter().map(|(_, path)| path);
    let uploads = run.imports.names().chain(run.uploads.names());
    let all: BTreeSet<String> = uploads.chain(files).cloned().collect();
    assert_eq!(session.query_valid_paths(false, false, &all), live);
    session.finish_ok();
    let on_disk: BTreeSet<String> = run
        .machine
        .present(&all)
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(on_disk, live);
    verify_with(run.peer, run.machine);
}

/// Ends the loops of the other threads, also when this one panics.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Chains of five: each path refers to the one before it.
fn chains(seed: &str, count: usize) -> Vec<PathToAdd> {
    let mut paths: Vec<PathToAdd> = Vec::with_capacity(count);
    for number in 0..count {
        let contents = vec![u8::try_from(number % 251).unwrap(); 1 + (number * 37) % 9000];
        let mut path = PathToAdd::numbered(seed, number, &contents);
        if let Some(last) = paths.last().filter(|_| number % 5 != 0) {
            path = path.referring_to([&last.path]);
        }
        paths.push(path);
    }
    paths
}

fn write_files(machine: &Machine) -> Vec<(String, String)> {
    (0..PATHS / 2)
        .map(|number| {
            let (name, contents) = (format!("file-{number}"), format!("contents {number}\n"));
            let file = machine.path("home").join(&name);
            std::fs::write(&file, &contents).unwrap();
            let path = PathToAdd::added_file(&name, contents.as_bytes()).path;
            (file.display().to_string(), path)
        })
        .collect()
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

with_each_release!(import_beside_additions_and_collections since 2.8:
    |peer| both_work_in_one_store(peer, Server::Ours));
