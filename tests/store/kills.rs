//! Kill -9 at any system call of an import leaves a store that verifies, and the retry
//! succeeds (REL-13, REL-40).
//!
//! The server reads a prepared request from a file, so each run makes the same system
//! calls. In `cargo xtask soak` every call is a kill point, else every 20th.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;

use test_support::{Message, PathToAdd, Peer, TempStore, Traced, run_and_kill_at, run_ok, say};

pub(super) const SERVER: &str = env!("CARGO_BIN_EXE_nix-serve");

/// A request, and the paths that it adds.
pub(super) struct Import {
    pub(super) request: tempfile::NamedTempFile,
    paths: Vec<PathToAdd>,
}

fn tree(number: usize) -> Vec<u8> {
    use test_support::nar::{directory, executable, regular, symlink};
    let text = format!("contents of file {number}\n");
    directory(&[
        (b"bin", directory(&[(b"run", executable(b"#!/bin/sh\n"))])),
        (b"data", regular(text.as_bytes())),
        (b"link", symlink(b"data")),
    ])
}

/// `count` trees and files, each referring to the one before.
pub(super) fn import(count: usize, commit_each: bool) -> Import {
    use std::io::Write;
    let mut request = tempfile::NamedTempFile::new().unwrap();
    let mut write = |message: &Message| request.write_all(message.as_bytes()).unwrap();
    write(&Message::new().u64(test_support::CLIENT_MAGIC).u64(0x207));
    let mut paths: Vec<PathToAdd> = Vec::new();
    for number in 0..count {
        let mut path = PathToAdd::numbered("k", number, format!("file {number}").as_bytes());
        if number % 2 == 0 {
            path = PathToAdd::from_nar(path.path, tree(number));
        }
        if let Some(before) = paths.last() {
            path = path.referring_to([before.path.clone()]);
        }
        write(&path.request());
        if commit_each {
            write(&Message::query_valid_paths(false, false, [&path.path]));
        }
        paths.push(path);
    }
    request.flush().unwrap();
    Import { request, paths }
}

impl Import {
    fn run_and_kill(&self, store: &TempStore, at: u64) -> Traced {
        let arguments = ["serve", "--write", "--store", &store.unflushed_address()];
        let input = File::open(self.request.path()).unwrap();
        run_and_kill_at(OsStr::new(SERVER), &arguments, input, at)
    }

    /// The same without anybody watching.
    fn retry(&self, store: &TempStore, what: &str) {
        let mut serve = Command::new(SERVER);
        serve
            .args(["serve", "--write", "--store", &store.unflushed_address()])
            .stdin(File::open(self.request.path()).unwrap())
            .stdout(std::process::Stdio::null());
        let output = serve.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: retry: {stderr}");
    }

    /// After the retry every path is valid.
    fn assert_complete(&self, store: &TempStore) {
        let mut check = Command::new(SERVER);
        check.args(["path-info", "--store", &store.address()]);
        check.args(self.paths.iter().map(|path| &path.path));
        assert_eq!(run_ok(check).len(), self.paths.len());
    }
}

fn kill_everywhere(name: &str, import: &Import, step: u64) -> u64 {
    let peers: Vec<&Peer> = Peer::all().iter().collect();
    assert!(!peers.is_empty(), "no real Nix to verify with");
    let whole = TempStore::new();
    let Traced::Ended { status: 0, calls } = import.run_and_kill(&whole, u64::MAX) else {
        panic!("{name}: the import fails without a kill");
    };
    import.assert_complete(&whole);
    let (mut points, mut kills) = (0, 0);
    for at in (1..=calls).step_by(usize::try_from(step).unwrap()) {
        let store = TempStore::new();
        // What is tested is the import, not the making of the store.
        run_ok({
            let mut init = Command::new(SERVER);
            init.args(["init", "--store", &store.address()]);
            init
        });
        let what = format!("{name} killed at system call {at} of {calls}");
        match import.run_and_kill(&store, at) {
            Traced::Killed => kills += 1,
            // A store that exists already takes fewer calls than the one that was counted.
            Traced::Ended { status, .. } => assert_eq!(status, 0, "{what}"),
        }
        let peer = peers[usize::try_from(points).unwrap() % peers.len()];
        store.assert_clean(SERVER, peer, &what);
        import.retry(&store, &what);
        import.assert_complete(&store);
        points += 1;
    }
    say(&format!(
        "kill points: {name}: {kills} of {calls} system calls"
    ));
    kills
}

pub(super) fn step() -> u64 {
    if std::env::var_os("SOAK").is_some() {
        1
    } else {
        20
    }
}

#[test]
fn killed_at_any_system_call_an_import_leaves_a_clean_store() {
    let single = kill_everywhere("import of three paths", &import(3, true), step());
    let batch = kill_everywhere("batch of 100 paths", &import(100, false), step());
    assert!(single + batch >= 180, "only {} kill points", single + batch);
}

#[test]
fn killed_at_any_system_call_of_its_creation_a_store_can_be_made_again() {
    let import = import(1, false);
    let whole = TempStore::new();
    let Traced::Ended { status: 0, calls } = import.run_and_kill(&whole, u64::MAX) else {
        panic!("the import fails without a kill");
    };
    let mut kills = 0;
    for at in (1..=calls).step_by(usize::try_from(step()).unwrap()) {
        let store = TempStore::new();
        kills += u64::from(import.run_and_kill(&store, at) == Traced::Killed);
        import.retry(&store, &format!("creation killed at {at}"));
        import.assert_complete(&store);
        if let Some(peer) = Peer::all().last() {
            store.assert_clean(SERVER, peer, &format!("creation killed at {at}"));
        }
    }
    say(&format!(
        "kill points: creation: {kills} of {calls} system calls"
    ));
    assert!(kills >= 25, "only {kills} kill points");
}
