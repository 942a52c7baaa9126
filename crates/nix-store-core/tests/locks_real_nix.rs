//! Locks and temporary roots beside real Nix, on one store, for each release that is here.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics when something is amiss, and its child process takes its task from the environment"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix_store_core::lock::{GcLock, LockDir, LockMode, PathLock, TempRoots, Wait};
use test_support::{Message, PathToAdd, Peer, ServeSession, TempStore, poll_until, run_ok, say};

/// A chroot store that real Nix has made.
struct Shared {
    peer: &'static Peer,
    store: TempStore,
    locks: LockDir,
}

impl Shared {
    fn new(peer: &'static Peer) -> Self {
        let store = TempStore::new();
        let mut init = peer.command("nix-store");
        init.args(["--store", &store.address(), "--init"]);
        run_ok(init);
        let locks = LockDir::open(&store.store_dir()).unwrap();
        Self { peer, store, locks }
    }

    /// One for each release.
    fn each(test: impl Fn(&Self)) {
        for peer in Peer::all() {
            say(&format!("beside Nix {}", peer.version()));
            test(&Self::new(peer));
        }
    }

    fn nix_store(&self, args: &[&str]) -> Command {
        let mut command = self.peer.command("nix-store");
        command.args(["--store", &self.store.address()]).args(args);
        command
    }

    /// Adds a file with real Nix; the store path.
    fn add(&self, name: &str) -> String {
        finish(self.start_add(name))
    }

    fn start_add(&self, name: &str) -> Child {
        let file = self.store.root().join(name);
        std::fs::write(&file, name).unwrap();
        start(self.nix_store(&["--add", file.to_str().unwrap()]))
    }

    /// What a path that [`Shared::add`] adds is called.
    fn future_path(&self, name: &str) -> String {
        PathToAdd::added_file(name, name.as_bytes()).path
    }

    fn collect(&self) {
        finish(start(self.nix_store(&["--gc"])));
    }

    fn has(&self, path: &str) -> bool {
        self.store.on_disk(path).symlink_metadata().is_ok()
    }

    fn roots(&self) -> TempRoots {
        TempRoots::new(&self.store.state_dir(), "/nix/store")
    }

    fn pin(&self, path: &str) -> TempRoots {
        let mut roots = self.roots();
        roots.add([path]).unwrap();
        roots
    }

    fn root_files(&self) -> Vec<PathBuf> {
        let dir = self.store.state_dir().join("temproots");
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn lock_file(&self, path: &str) -> PathBuf {
        let mut file = self.store.on_disk(path).into_os_string();
        file.push(".lock");
        file.into()
    }

    fn lock(&self, path: &str, wait: Wait) -> Option<PathLock> {
        self.locks.lock(base_name(path), wait).unwrap()
    }

    /// A server of real Nix that has half of a path: it holds the lock, and waits for the rest.
    fn half_added(&self) -> (ServeSession, PathToAdd) {
        let path = PathToAdd::file(&"0".repeat(32), "half", &[7; 100_000]);
        let mut server = ServeSession::open(self.nix_store(&["--serve", "--write"]), 5);
        server.send(&path.request_head());
        server.send_bytes(&path.nar[..50_000]);
        poll_until("real Nix to lock the path", || {
            let file = File::open(self.lock_file(&path.path)).ok()?;
            is_locked(&file).then_some(())
        });
        (server, path)
    }
}

fn base_name(path: &str) -> &str {
    path.strip_prefix("/nix/store/").unwrap()
}

fn start(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Demands that a command ends well, and soon; the last line of its output.
fn finish(mut child: Child) -> String {
    let mut stderr = child.stderr.take().unwrap();
    let stderr = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let ended = poll_until("real Nix to end", || {
        child.try_wait().unwrap()?;
        Some(child.wait().unwrap())
    });
    let stderr = stderr.join().unwrap();
    assert!(ended.success(), "{ended}: {stderr}");
    let mut stdout = String::new();
    child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
    stdout.lines().last().unwrap_or_default().to_owned()
}

/// The lines of `/proc/locks` about this file.
fn locks_of(file: &File) -> Vec<String> {
    let inode = format!(":{} ", file.metadata().unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let about = locks.lines().filter(|line| line.contains(&inode));
    about.map(str::to_owned).collect()
}

fn is_locked(file: &File) -> bool {
    locks_of(file).iter().any(|line| line.contains("FLOCK"))
}

fn has_waiter(file: &File) -> bool {
    locks_of(file).iter().any(|line| line.contains("-> FLOCK"))
}

#[test]
fn a_pinned_path_survives_collections_until_its_root_is_dropped() {
    Shared::each(|shared| {
        let (pinned, other) = (shared.add("pinned"), shared.add("other"));
        let roots = shared.pin(&pinned);
        shared.collect();
        assert!(shared.has(&pinned) && !shared.has(&other));
        shared.collect();
        assert!(shared.has(&pinned));
        assert_eq!(shared.root_files(), [roots.file_path().unwrap()]);

        drop(roots);
        assert!(shared.root_files().is_empty());
        shared.collect();
        assert!(!shared.has(&pinned));
    });
}

#[test]
fn each_of_several_owners_counts_until_it_ends() {
    Shared::each(|shared| {
        let (one, two) = (shared.add("one"), shared.add("two"));
        let (first, mut second) = (shared.pin(&one), shared.pin(&two));
        shared.collect();
        second.add([one.as_str()]).unwrap();
        drop(first);
        shared.collect();
        assert!(shared.has(&one) && shared.has(&two));
    });
}

#[test]
fn a_root_taken_before_the_path_exists_protects_path_and_lock_file() {
    Shared::each(|shared| {
        let path = shared.future_path("later");
        let _roots = shared.pin(&path);
        let _lock = shared.lock(&path, Wait::Never).unwrap();
        std::fs::write(shared.store.on_disk(&path), "half").unwrap();
        shared.collect();
        assert!(shared.has(&path));
        assert!(shared.lock_file(&path).try_exists().unwrap());
    });
}

#[test]
fn our_lock_holds_up_a_real_add() {
    Shared::each(|shared| {
        let path = shared.future_path("locked");
        let _roots = shared.pin(&path);
        let mut lock = shared.lock(&path, Wait::Never).unwrap();
        let file = File::open(shared.lock_file(&path)).unwrap();
        let child = shared.start_add("locked");
        poll_until("real Nix to wait for our lock", || {
            has_waiter(&file).then_some(())
        });
        assert!(!shared.has(&path));

        lock.request_removal();
        lock.release().unwrap();
        assert_eq!(finish(child), path);
        assert!(shared.has(&path));
        assert!(!shared.lock_file(&path).try_exists().unwrap());
    });
}

#[test]
fn a_real_add_holds_up_our_lock() {
    Shared::each(|shared| {
        let (mut server, path) = shared.half_added();
        assert!(shared.lock(&path.path, Wait::Never).is_none());
        let soon = Wait::Until(Instant::now() + Duration::from_millis(20));
        assert!(shared.lock(&path.path, soon).is_none());

        let file = File::open(shared.lock_file(&path.path)).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| shared.lock(&path.path, Wait::Forever).unwrap());
            poll_until("our thread to wait", || has_waiter(&file).then_some(()));
            server.send_bytes(&path.nar[50_000..]);
            server.expect(&Message::new().u64(1));
            let lock = waiter.join().unwrap();
            // Real Nix has removed its lock file, so ours is a new one.
            let ours = std::fs::metadata(shared.lock_file(&path.path)).unwrap();
            assert_ne!(ours.ino(), file.metadata().unwrap().ino());
            assert!(shared.has(&path.path));
            drop(lock);
        });
        server.finish_ok();
    });
}

#[test]
fn the_lock_of_a_killed_real_process_is_taken_over() {
    Shared::each(|shared| {
        let (server, path) = shared.half_added();
        server.kill();
        assert!(shared.lock_file(&path.path).try_exists().unwrap());
        assert!(shared.lock(&path.path, Wait::Never).is_some());
    });
}

#[test]
fn a_lock_file_that_we_leave_does_not_stop_a_real_add() {
    Shared::each(|shared| {
        let path = shared.future_path("left");
        drop(shared.lock(&path, Wait::Never).unwrap());
        assert!(shared.lock_file(&path).try_exists().unwrap());
        assert_eq!(shared.add("left"), path);
    });
}

#[test]
fn a_lock_file_that_makes_real_nix_spin_is_cleared_by_ours() {
    Shared::each(|shared| {
        let path = shared.future_path("spoilt");
        std::fs::write(shared.lock_file(&path), "4711").unwrap();
        drop(shared.lock(&path, Wait::Never).unwrap());
        assert_eq!(shared.add("spoilt"), path);
    });
}

/// Not a test of its own: the process that [`a_killed_owner_is_forgotten`] kills.
#[test]
fn owner_process() {
    let (Ok(state), Ok(path)) = (std::env::var("OWNER_STATE"), std::env::var("OWNER_PATH")) else {
        say("'owner_process' does something only as the child of 'a_killed_owner_is_forgotten'");
        return;
    };
    let mut roots = TempRoots::new(state.as_ref(), "/nix/store");
    roots.add([path.as_str()]).unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_killed_owner_is_forgotten() {
    Shared::each(|shared| {
        let path = shared.add("owned");
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "owner_process"])
            .env("OWNER_STATE", shared.store.state_dir())
            .env("OWNER_PATH", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let record = format!("{path}\0");
        poll_until("the owner to record its root", || {
            let files = shared.root_files();
            let text = std::fs::read_to_string(files.first()?).ok()?;
            (text == record).then_some(())
        });
        shared.collect();
        assert!(shared.has(&path));

        owner.kill().unwrap();
        owner.wait().unwrap();
        assert_eq!(shared.root_files().len(), 1);
        shared.collect();
        assert!(!shared.has(&path));
        assert!(shared.root_files().is_empty());
    });
}

#[test]
fn a_root_added_while_a_collector_runs_is_kept_or_seen_to_be_gone() {
    Shared::each(|shared| {
        let long = "left-over-".repeat(18);
        let paths: Vec<_> = (0..1_500)
            .map(|n| format!("/nix/store/{n:0>32}-{long}"))
            .collect();
        for path in &paths {
            File::create(shared.store.on_disk(path)).unwrap();
        }
        // A fifth of its messages fills a pipe, so it can't end before we read them.
        let collector = start(shared.nix_store(&["--gc"]));
        // Once it deletes, it has read all files with roots: ours comes too late for that.
        poll_until("the collector to delete", || {
            (shared.store.names().len() < paths.len()).then_some(())
        });
        assert!(is_collecting(shared));

        let kept = thread::scope(|scope| {
            let owner = scope.spawn(|| {
                let mut roots = shared.roots();
                roots
                    .add(paths.iter().step_by(30).map(String::as_str))
                    .unwrap();
                let seen = paths.iter().step_by(30).filter(|path| shared.has(path));
                (roots, seen.collect::<BTreeSet<_>>())
            });
            if shared.peer.is_at_least(2, 5) {
                // It has a socket. Only for a path that it is just deleting it makes us wait.
                let patience = Instant::now() + Duration::from_secs(5);
                poll_until("the answers", || {
                    (owner.is_finished() || Instant::now() > patience).then_some(())
                });
            } else {
                poll_until("the record", || {
                    let files = shared.root_files();
                    files.iter().any(|file| is_ours(file)).then_some(())
                });
                assert!(
                    !owner.is_finished(),
                    "didn't wait for a collector without ears"
                );
            }
            finish(collector);
            let (roots, seen) = owner.join().unwrap();
            let kept: BTreeSet<_> = paths.iter().filter(|path| shared.has(path)).collect();
            assert_eq!(kept, seen, "deleted after it was pinned");
            drop(roots);
            kept.len()
        });
        say(&format!("{kept} of 50 roots came in time"));
        assert_eq!(kept > 0, shared.peer.is_at_least(2, 5));
        shared.collect();
        assert!(!paths.iter().any(|path| shared.has(path)));
    });
}

fn is_collecting(shared: &Shared) -> bool {
    let state = shared.store.state_dir();
    GcLock::acquire(&state, LockMode::Shared, Wait::Never)
        .unwrap()
        .is_none()
}

/// True for a file with records that isn't named like those of real Nix.
fn is_ours(file: &std::path::Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    name.contains('-') && file.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

#[test]
fn our_collector_lock_holds_up_a_real_collector() {
    Shared::each(|shared| {
        let path = shared.add("spared");
        let state = shared.store.state_dir();
        let verifier = GcLock::acquire(&state, LockMode::Shared, Wait::Never).unwrap();
        let file = File::open(state.join("gc.lock")).unwrap();
        let collector = start(shared.nix_store(&["--gc"]));
        poll_until("the collector to wait", || has_waiter(&file).then_some(()));
        assert!(shared.has(&path));
        drop(verifier);
        finish(collector);
        assert!(!shared.has(&path));
    });
}
