//! Paths that a client asked for with lock, beside a real Nix's collector.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, mknodat};
use test_support::{Machine, PathToAdd, Peer, poll_until, run_ok, verify_with, with_each_release};

use crate::sides::{Server, stock};

fn path_reported_valid_survives(peer: &Peer, server: Server<'_>) {
    let (machine, corpus) = stock(peer, "pin");
    let mut session = server.session(&machine);
    let valid = session.query_valid_paths(true, false, [&corpus.top]);
    assert_eq!(valid, BTreeSet::from([corpus.top.clone()]));

    run_ok(machine.nix_store(peer, ["--gc"]));
    assert_eq!(
        machine.present(&corpus.closure).len(),
        corpus.closure.len(),
        "the closure stays"
    );
    assert_eq!(
        session.query_valid_paths(false, false, &corpus.closure),
        corpus.closure
    );
    assert!(
        machine.present([&corpus.text]).is_empty(),
        "what nobody asked for goes"
    );

    session.finish_ok();
    run_ok(machine.nix_store(peer, ["--gc"]));
    assert!(
        machine.present(&corpus.closure).is_empty(),
        "afterwards it is collected"
    );
    verify_with(peer, &machine);
}

fn uploaded_path_is_pinned(peer: &Peer, server: Server<'_>) {
    let machine = Machine::new();
    let mut session = server.session(&machine);
    let base = PathToAdd::numbered("pin", 1, b"base");
    let user = PathToAdd::numbered("pin", 2, b"user").referring_to([&base.path]);
    session.add(&base);
    session.add(&user);
    let both = BTreeSet::from([base.path, user.path]);
    run_ok(machine.nix_store(peer, ["--gc"]));
    assert_eq!(
        machine.present(&both).len(),
        2,
        "uploaded on a living connection"
    );
    session.finish_ok();
    run_ok(machine.nix_store(peer, ["--gc"]));
    assert!(
        machine.present(&both).is_empty(),
        "afterwards they are collected"
    );
    verify_with(peer, &machine);
}

fn killed_server_pins_nothing(peer: &Peer, server: Server<'_>) {
    let (machine, corpus) = stock(peer, "killed");
    let mut session = server.session(&machine);
    session.query_valid_paths(true, false, [&corpus.top]);
    session.kill();
    run_ok(machine.nix_store(peer, ["--gc"]));
    assert!(
        machine.present(&corpus.closure).is_empty(),
        "nobody is left to want it"
    );
}

/// The collector is held right after it has read the temporary roots, which
/// is when a new one has to be told to it.
fn path_pinned_during_a_collection_survives(peer: &Peer, server: Server<'_>) {
    let (machine, corpus) = stock(peer, "during");
    let mut session = server.session(&machine);
    // Not yet pinned; the connection is open and idle.
    assert_eq!(
        session.query_valid_paths(false, false, [&corpus.top]).len(),
        1
    );
    let held = HeldCollection::start(&machine, peer);
    let valid = session.query_valid_paths(true, false, [&corpus.top]);
    held.let_go();
    assert_eq!(valid, BTreeSet::from([corpus.top.clone()]));
    assert_eq!(
        machine.present(&corpus.closure).len(),
        corpus.closure.len(),
        "the closure stays"
    );
    assert!(
        machine.present([&corpus.text]).is_empty(),
        "the collection did its work"
    );
    assert_eq!(
        session.query_valid_paths(false, false, &corpus.closure),
        corpus.closure
    );
    session.finish_ok();
    verify_with(peer, &machine);
}

/// Shows that the hook is where the tests around want it: a root that is only
/// written to a file by now, and not told to the collector, comes too late.
fn root_that_is_not_told_comes_too_late(peer: &Peer) {
    let (machine, corpus) = stock(peer, "too-late");
    let held = HeldCollection::start(&machine, peer);
    let mut file = File::create(machine.path("nix/var/nix/temproots/1")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    file.write_all(format!("{}\0", corpus.top).as_bytes())
        .unwrap();
    held.let_go();
    assert!(machine.present([&corpus.top]).is_empty());
}

fn path_uploaded_during_a_collection_survives(peer: &Peer, server: Server<'_>) {
    let (machine, corpus) = stock(peer, "upload-during");
    let mut session = server.session(&machine);
    let held = HeldCollection::start(&machine, peer);
    let fresh = PathToAdd::numbered("frsh", 1, b"fresh");
    // Refers to a path that the collector is about to delete.
    let user = PathToAdd::numbered("frsh", 2, b"user").referring_to([&fresh.path, &corpus.top]);
    session.query_valid_paths(true, false, [&corpus.top]);
    session.add(&fresh);
    session.add(&user);
    held.let_go();
    let mut wanted = corpus.closure.clone();
    wanted.extend([fresh.path, user.path]);
    assert_eq!(machine.present(&wanted).len(), wanted.len());
    assert_eq!(session.query_valid_paths(false, false, &wanted), wanted);
    session.finish_ok();
    verify_with(peer, &machine);
}

/// Nothing is held: paths are asked for one by one while real Nix deletes
/// hundreds. Whatever was reported valid has to be there at the end.
fn answers_stay_true_while_real_nix_collects(peer: &Peer, server: Server<'_>) {
    let machine = Machine::new();
    let dead: Vec<PathToAdd> = (0..400)
        .map(|number| PathToAdd::numbered("dark", number, b"dead weight"))
        .collect();
    let mut filler = Server::Real(peer).session(&machine);
    dead.iter().for_each(|path| filler.add(path));
    filler.finish_ok();

    let mut session = server.session(&machine);
    let mut collector = spawn(machine.nix_store(peer, ["--gc"]));
    let mut reported = BTreeSet::new();
    for path in dead.iter().rev() {
        reported.extend(session.query_valid_paths(true, false, [&path.path]));
        if collector.try_wait().unwrap().is_some() {
            break;
        }
    }
    assert!(
        collector.wait().unwrap().success(),
        "the collector isn't disturbed"
    );
    assert_eq!(
        machine.present(&reported).len(),
        reported.len(),
        "reported valid and gone"
    );
    assert_eq!(session.query_valid_paths(false, false, &reported), reported);
    session.finish_ok();
    verify_with(peer, &machine);
}

/// A collection by real Nix that waits at its own test hook.
struct HeldCollection {
    collector: Child,
    gate: File,
}

impl HeldCollection {
    /// Starts a collection, and returns when it has come to the hook.
    fn start(machine: &Machine, peer: &Peer) -> Self {
        let path = machine.path("gate");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut command = machine.nix_store(peer, ["--gc"]);
        // The collector reads this file to its end; the hook's name changed.
        command
            .env("_NIX_TEST_GC_SYNC", &path)
            .env("_NIX_TEST_GC_SYNC_2", &path);
        let mut collector = spawn(command);
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let gate = poll_until("the collector at its hook", || {
            let ended = collector.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the collector didn't stop at the hook: {ended:?}"
            );
            // Fails until somebody has opened the other end.
            OpenOptions::new()
                .write(true)
                .custom_flags(flags)
                .open(&path)
                .ok()
        });
        Self { collector, gate }
    }

    /// Lets the collector go on, and waits for its end.
    fn let_go(mut self) {
        drop(self.gate);
        assert!(
            self.collector.wait().unwrap().success(),
            "the collector ends well"
        );
    }
}

fn spawn(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

with_each_release!(locked_path: |peer| path_reported_valid_survives(peer, Server::Ours));
with_each_release!(uploaded_path: |peer| uploaded_path_is_pinned(peer, Server::Ours));
with_each_release!(killed_server: |peer| killed_server_pins_nothing(peer, Server::Ours));
with_each_release!(during_a_collection since 2.8:
    |peer| path_pinned_during_a_collection_survives(peer, Server::Ours));
with_each_release!(upload_during_a_collection since 2.8:
    |peer| path_uploaded_during_a_collection_survives(peer, Server::Ours));
with_each_release!(hook_of_the_collector since 2.8: root_that_is_not_told_comes_too_late);
with_each_release!(while_it_collects:
    |peer| answers_stay_true_while_real_nix_collects(peer, Server::Ours));
