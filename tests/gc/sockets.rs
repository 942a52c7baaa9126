//! Our collector's locks beside live owners of temporary roots, and beside real collectors.

use std::fs::{self, File};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nix_base::{StoreDir, StorePath};
use nix_store_core::gc::{GcAction, GcOptions, GcPhase, GcProgress};
use nix_store_core::lock::{CollectorLocks, Pending, Wait};
use test_support::{Message, PathToAdd, Peer, ServeSession, poll_until, run_ok, say};

use crate::real_store::{RealStore, with_each};

/// A store that a real Nix has made, with a few paths in it.
struct Site {
    real: RealStore,
    paths: Vec<String>,
}

impl Deref for Site {
    type Target = RealStore;

    fn deref(&self) -> &RealStore {
        &self.real
    }
}

impl Site {
    fn new(peer: &'static Peer) -> Self {
        let real = RealStore::new(peer);
        let paths = (0..4).map(|n| PathToAdd::numbered("gc", n, b"object"));
        let paths: Vec<PathToAdd> = paths.collect();
        real.add(&paths);
        let paths = paths.into_iter().map(|path| path.path).collect();
        Self { real, paths }
    }

    fn each(test: impl Fn(&Self)) {
        with_each(|peer| test(&Self::new(peer)));
    }

    /// A server that holds temporary roots already.
    fn owner_of(&self, number: usize) -> ServeSession {
        let mut owner = self.server();
        owner.query_valid_paths(true, false, [&self.paths[number]]);
        owner
    }

    /// Whether its owners tell a running collector of new roots, which is so since Nix 2.5.
    fn tells(&self) -> bool {
        self.peer.is_at_least(2, 5)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.store.state_dir().join(name)
    }

    fn collector(&self) -> CollectorLocks {
        // A server of 2.3 has the lock for a moment when it makes its file.
        poll_until("the collector lock", || self.try_collector())
    }

    fn try_collector(&self) -> Option<CollectorLocks> {
        let state = self.store.state_dir();
        CollectorLocks::acquire(&state, &StoreDir::default(), Wait::Never).unwrap()
    }

    fn path(&self, number: usize) -> StorePath {
        StoreDir::default().parse(&self.paths[number]).unwrap()
    }

    fn has(&self, number: usize) -> bool {
        let path = self.store.on_disk(&self.paths[number]);
        path.symlink_metadata().is_ok()
    }

    /// Deletes a path as a collector does; the caller has begun.
    fn delete(&self, number: usize, pending: Pending) {
        self.open().db().invalidate(&self.path(number)).unwrap();
        fs::remove_file(self.store.on_disk(&self.paths[number])).unwrap();
        drop(pending);
    }

    /// Asks a server for a path that `locks` is deleting, and waits until that is known.
    fn ask_and_be_heard(&self, owner: &mut ServeSession, number: usize, locks: &CollectorLocks) {
        self.ask(owner, number);
        poll_until("the root to be heard", || {
            locks.is_temp_root(self.path(number).hash()).then_some(())
        });
    }

    /// Asks a server to look up a path with lock, and doesn't wait for the answer.
    fn ask(&self, owner: &mut ServeSession, number: usize) {
        owner.send(&Message::query_valid_paths(
            true,
            false,
            [&self.paths[number]],
        ));
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.nix_store(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

/// Whether somebody waits for a lock of this file.
fn has_waiter(file: &File) -> bool {
    let inode = format!(":{} ", file.metadata().unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("-> FLOCK") && line.contains(&inode))
}

fn answer(owner: &mut ServeSession) -> Vec<String> {
    owner.read_strings()
}

#[test]
fn roots_of_real_servers_are_seen_while_they_live() {
    Site::each(|site| {
        let owner = site.owner_of(0);
        let killed = site.owner_of(1);
        let locks = site.collector();
        let [first, second, third] = [0, 1, 2].map(|n| *site.path(n).hash());
        assert!(locks.is_temp_root(&first) && locks.is_temp_root(&second));
        assert!(!locks.is_temp_root(&third));
        assert_eq!(locks.recorded().len(), 2);
        let pids: Vec<u32> = locks.recorded().iter().map(|root| root.pid).collect();
        assert!(pids.contains(&owner.pid()) && pids.contains(&killed.pid()));
        drop(locks);

        killed.kill();
        let locks = site.collector();
        assert!(locks.is_temp_root(&first) && !locks.is_temp_root(&second));
        drop(locks);
        owner.finish_ok();
        assert!(site.collector().temp_roots().is_empty());
        let left = fs::read_dir(site.state("temproots")).unwrap().count();
        assert_eq!(left, 0, "files of dead processes");
    });
}

#[test]
fn a_root_that_a_real_server_adds_meanwhile_is_spared_or_waits_for_the_end() {
    Site::each(|site| {
        // One has recorded roots before, the other hasn't.
        let mut owners = [site.owner_of(0), site.server()];
        let locks = site.collector();
        for (number, owner) in (1..).zip(&mut owners) {
            site.ask(owner, number);
            if site.tells() {
                assert_eq!(answer(owner), [site.paths[number].as_str()]);
                assert!(locks.begin(site.path(number).hash()).is_none(), "not heard");
            } else {
                let file = if number == 1 {
                    File::open(site.state("temproots").join(owner.pid().to_string()))
                } else {
                    File::open(site.state("gc.lock"))
                };
                let file = file.unwrap();
                poll_until("the owner to wait for us", || {
                    has_waiter(&file).then_some(())
                });
                let pending = locks.begin(site.path(number).hash()).unwrap();
                site.delete(number, pending);
                assert!(!owner.has_output());
            }
        }
        drop(locks);
        if !site.tells() {
            // They asked for validity after the end only.
            assert!(owners.iter_mut().all(|owner| answer(owner).is_empty()));
        }
        let locks = site.collector();
        for number in 0..3 {
            assert!(locks.is_temp_root(site.path(number).hash()), "{number}");
        }
    });
}

#[test]
fn a_real_server_hears_of_a_path_that_is_being_deleted_when_it_is_gone() {
    Site::each(|site| {
        if !site.tells() {
            return;
        }
        let mut owner = site.owner_of(0);
        let locks = site.collector();
        let pending = locks.begin(site.path(1).hash()).unwrap();
        site.ask_and_be_heard(&mut owner, 1, &locks);
        // Others don't wait.
        let mut other = site.owner_of(2);
        assert!(!owner.has_output());
        site.delete(1, pending);
        assert!(answer(&mut owner).is_empty(), "it is gone");
        // What was a root while it went may come back, and is kept then.
        other.add(&PathToAdd::numbered("gc", 1, b"object"));
        assert!(locks.begin(site.path(1).hash()).is_none());
        assert_eq!(
            other
                .query_valid_paths(false, false, [&site.paths[1]])
                .len(),
            1
        );
    });
}

#[test]
fn real_servers_go_on_when_our_collector_ends_without_an_answer() {
    Site::each(|site| {
        if !site.tells() {
            return;
        }
        let mut owner = site.owner_of(0);
        let locks = site.collector();
        let pending = locks.begin(site.path(1).hash()).unwrap();
        site.ask_and_be_heard(&mut owner, 1, &locks);
        drop(locks);
        assert_eq!(answer(&mut owner), [site.paths[1].as_str()]);
        drop(pending);
        // The socket that we left is dead, and in nobody's way.
        assert!(site.state("gc-socket/socket").symlink_metadata().is_ok());
        assert_eq!(
            owner.query_valid_paths(true, false, [&site.paths[2]]).len(),
            1
        );
        owner.finish_ok();
    });
}

#[test]
fn real_collectors_wait_for_ours_and_ours_for_them() {
    Site::each(|site| {
        let locks = site.collector();
        let lock_file = File::open(site.state("gc.lock")).unwrap();
        let mut real = site.start(&["--gc"]);
        poll_until("the collector to wait", || {
            has_waiter(&lock_file).then_some(())
        });
        assert!((0..4).all(|number| site.has(number)));
        // To look at roots takes no lock.
        run_ok(site.nix_store(&["--gc", "--print-roots"]));
        let pending = locks.begin(site.path(3).hash()).unwrap();
        site.delete(3, pending);
        drop(locks);
        assert!(real.wait().unwrap().success());
        assert!(!(0..4).any(|number| site.has(number)));

        // Each finds what the other left: socket, lock file, directories.
        for _ in 0..2 {
            drop(site.collector());
            run_ok(site.nix_store(&["--gc"]));
        }
    });
}

#[test]
fn our_roots_hold_beside_real_collectors_while_owners_of_all_releases_live() {
    let peers = Peer::all();
    let Some(first) = peers.last() else { return };
    let site = Site::new(first);
    let owners: Vec<_> = peers
        .iter()
        .filter(|peer| peer.is_at_least(2, 5))
        .map(|peer| {
            let mut command = peer.command("nix-store");
            command.args(["--store", &site.store.address(), "--serve", "--write"]);
            let mut owner = ServeSession::open(command, 5);
            owner.query_valid_paths(true, false, [&site.paths[0]]);
            owner
        })
        .collect();
    let ours = site.open();
    ours.add_temp_root(&site.path(1)).unwrap();
    let locks = site.collector();
    assert_eq!(locks.recorded().len(), owners.len() + 1);
    assert_eq!(locks.temp_roots().len(), 2);
    drop(locks);
    for peer in peers.iter().filter(|peer| peer.is_at_least(2, 5)) {
        let mut command = peer.command("nix-store");
        command.args(["--store", &site.store.address(), "--gc"]);
        run_ok(command);
    }
    assert_eq!(
        [0, 1, 2].map(|number| site.has(number)),
        [true, true, false]
    );
}

/// Has a server look up all paths with lock once the collector begins to delete.
struct AskOnce<'a> {
    owner: &'a mut ServeSession,
    question: Option<Message>,
}

impl GcProgress for AskOnce<'_> {
    fn phase(&mut self, phase: GcPhase) {
        if phase == GcPhase::Deleting
            && let Some(question) = self.question.take()
        {
            self.owner.send(&question);
        }
    }
}

#[test]
fn what_real_servers_are_told_during_a_collection_is_true() {
    Site::each(|site| {
        let paths: Vec<PathToAdd> = (0..500)
            .map(|n| PathToAdd::numbered("many", n, b"object"))
            .collect();
        let names: Vec<&str> = paths.iter().map(|path| path.path.as_str()).collect();
        let mut server = site.server();
        paths.iter().for_each(|path| server.add(path));
        server.finish_ok();
        // It has roots on record already, among them one that is to stay.
        let mut owner = site.owner_of(0);
        let question = Message::query_valid_paths(true, false, names.iter().rev().step_by(5));
        let ours = site.open();
        let report = ours
            .collect_garbage(
                &GcOptions::new(GcAction::DeleteDead),
                &mut AskOnce {
                    owner: &mut owner,
                    question: Some(question),
                },
            )
            .unwrap();
        let told = answer(&mut owner);
        let on_disk = |path: &&str| site.store.on_disk(path).symlink_metadata().is_ok();
        let there: Vec<&str> = names.iter().copied().filter(on_disk).collect();
        say(&format!("{} of 100 roots came in time", told.len()));
        assert_eq!(told, there, "what a server is told to be valid stays");
        assert_eq!(told.is_empty(), !site.tells());
        assert!(site.has(0) && !site.has(1));
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        // What it was told of stays as long as it lives.
        let collect = || ours.collect_garbage(&GcOptions::new(GcAction::DeleteDead), &mut ());
        collect().unwrap();
        assert_eq!(
            names.iter().filter(|path| on_disk(path)).count(),
            told.len()
        );
        owner.finish_ok();
        collect().unwrap();
        assert!(!names.iter().any(on_disk) && !site.has(0));
    });
}
