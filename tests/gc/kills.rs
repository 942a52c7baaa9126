//! Kill -9 at any system call of a collection leaves a store that verifies, with everything
//! that is alive; the next collection brings it to what is alive and nothing else (REL-13,
//! REL-40).
//!
//! In `cargo xtask soak` every call is a kill point, else every 80th: each of them takes a look
//! by real Nix and another collection.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;

use test_support::{Message, PathToAdd, Peer, TempStore, Traced, run_and_kill_at, say};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nix-serve");

/// A store with dead and living paths, to be copied.
struct Template {
    store: TempStore,
    /// The base names of what is alive, sorted.
    live: Vec<String>,
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

impl Template {
    /// `dead` paths in chains of ten, and `live` paths in one chain with a root at its end.
    /// Every other chain ends at a living path. Files are shared through `.links`.
    fn new(dead: usize, live: usize) -> Self {
        use std::io::Write;
        let store = TempStore::new();
        let mut request = tempfile::tempfile().unwrap();
        let mut write = |message: &Message| request.write_all(message.as_bytes()).unwrap();
        write(&Message::new().u64(test_support::CLIENT_MAGIC).u64(0x207));
        let mut paths: Vec<PathToAdd> = Vec::new();
        for number in 0..live + dead {
            let mut path = PathToAdd::numbered("k", number, format!("file {number}").as_bytes());
            if number % 2 == 0 {
                path = PathToAdd::from_nar(path.path, tree(number % 14));
            }
            let starts_chain = number >= live && (number - live).is_multiple_of(10);
            let before = match starts_chain {
                false => paths.last(),
                true if number % 20 < 10 => paths.get(live - 1),
                true => None,
            };
            if let Some(before) = before {
                path = path.referring_to([before.path.clone()]);
            }
            write(&path.request());
            paths.push(path);
        }
        use std::io::Seek;
        request.rewind().unwrap();
        let mut serve = Command::new(PROGRAM);
        serve
            .args(["serve", "--write", "--store", &store.unflushed_address()])
            .args(["--option", "auto-optimise-store", "true"])
            .stdin(request)
            .stdout(std::process::Stdio::null());
        assert!(serve.status().unwrap().success());
        let root = store.state_dir().join("gcroots/kept");
        std::os::unix::fs::symlink(&paths[live - 1].path, root).unwrap();
        let base = |path: &PathToAdd| path.path.trim_start_matches("/nix/store/").to_owned();
        let mut live: Vec<String> = paths[..live].iter().map(base).collect();
        live.sort();
        Self { store, live }
    }

    fn run_and_kill(&self, store: &TempStore, at: u64) -> Traced {
        let input = File::open("/dev/null").unwrap();
        let arguments = ["gc", "--store", &store.unflushed_address()];
        run_and_kill_at(OsStr::new(PROGRAM), &arguments, input, at)
    }

    /// What is alive is there and valid, whatever else is.
    fn assert_alive(&self, store: &TempStore, what: &str) {
        let mut check = Command::new(PROGRAM);
        check.args(["path-info", "--store", &store.address()]);
        check.args(self.live.iter().map(|name| format!("/nix/store/{name}")));
        let output = check.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {stderr}");
    }

    /// Another collection leaves what is alive, and nothing else.
    fn assert_one_more_is_enough(&self, store: &TempStore, what: &str) {
        let mut collect = Command::new(PROGRAM);
        collect.args(["gc", "--store", &store.unflushed_address()]);
        let output = collect.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {stderr}");
        let mut names = store.names();
        names.retain(|name| name != ".links");
        assert_eq!(names, self.live, "{what}");
        let unused = std::fs::read_dir(store.store_dir().join(".links"))
            .unwrap()
            .filter(|entry| {
                use std::os::unix::fs::MetadataExt;
                entry.as_ref().unwrap().metadata().unwrap().nlink() == 1
            });
        assert_eq!(unused.count(), 0, "{what}: unused links");
        let roots = std::fs::read_dir(store.state_dir().join("temproots")).unwrap();
        assert_eq!(roots.count(), 0, "{what}: files of temporary roots");
    }
}

#[test]
fn killed_at_any_system_call_a_collection_leaves_a_clean_store_and_what_is_alive() {
    let peers: Vec<&Peer> = Peer::all().iter().collect();
    assert!(!peers.is_empty(), "no real Nix to verify with");
    let template = Template::new(100, 20);
    let whole = template.store.copy();
    let Traced::Ended { status: 0, calls } = template.run_and_kill(&whole, u64::MAX) else {
        panic!("the collection fails without a kill");
    };
    template.assert_alive(&whole, "not killed");
    template.assert_one_more_is_enough(&whole, "not killed");
    let step = match std::env::var_os("SOAK") {
        Some(_) => 1,
        None => 80,
    };
    let (mut points, mut kills) = (0, 0);
    for at in (1..=calls).step_by(step) {
        let store = template.store.copy();
        let what = format!("collection killed at system call {at} of {calls}");
        match template.run_and_kill(&store, at) {
            Traced::Killed => kills += 1,
            // With two threads the number of calls differs from run to run.
            Traced::Ended { status, .. } => assert_eq!(status, 0, "{what}"),
        }
        store.assert_clean(PROGRAM, peers[points % peers.len()], &what);
        template.assert_alive(&store, &what);
        template.assert_one_more_is_enough(&store, &what);
        points += 1;
    }
    say(&format!(
        "kill points: collection of 100 paths: {kills} of {calls} system calls"
    ));
    assert!(kills >= 20, "only {kills} of {points} kill points");
}
