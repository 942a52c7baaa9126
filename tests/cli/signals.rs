//! SIGTERM and SIGINT end a command in order.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use test_support::{PathToAdd, ServeSession, TempStore, poll_until};

use crate::program::{nix_serve, on, run};

fn serve(store: &TempStore) -> ServeSession {
    let address = store.address();
    ServeSession::open(nix_serve(["serve", "--write", "--store", &address]), 7)
}

fn temp_roots(store: &TempStore) -> usize {
    std::fs::read_dir(store.state_dir().join("temproots"))
        .unwrap()
        .count()
}

fn signal(session: &ServeSession, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(session.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_server_gives_up_its_roots_and_ends_within_five_seconds() {
    for kind in [Signal::TERM, Signal::INT, Signal::HUP] {
        let store = TempStore::new();
        let mut session = serve(&store);
        let path = PathToAdd::numbered("a", 1, b"contents");
        session.add(&path);
        assert_eq!(temp_roots(&store), 1);
        let start = Instant::now();
        signal(&session, kind);
        assert!(session.at_end());
        let ended = session.finish();
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        assert_eq!(ended.stderr, "error: interrupted by the user\n");
        assert_eq!(temp_roots(&store), 0);
    }
}

#[test]
fn a_server_in_the_middle_of_an_import_leaves_nothing_of_it() {
    let store = TempStore::new();
    let mut session = serve(&store);
    let path = PathToAdd::numbered("a", 1, &[b'x'; 300_000]);
    session.send(&path.request_head());
    session.send_bytes(&path.nar[..200_000]);
    poll_until("the archive to be unpacked", || {
        store
            .names()
            .iter()
            .any(|name| name != ".links")
            .then_some(())
    });
    signal(&session, Signal::TERM);
    assert!(session.at_end());
    let ended = session.finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert_eq!(store.names(), [".links"]);
    assert_eq!(temp_roots(&store), 0);
    run(on(&store, ["verify", "--check-contents"])).lines();
}

#[test]
fn a_copy_gives_up_its_roots_although_the_server_says_nothing() {
    let store = TempStore::new();
    let path = crate::program::add_file(&store, "file", "contents");
    let mut child = on(&store, ["copy", "--to", "exec:exec cat > /dev/null", &path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    poll_until("the copy to pin its paths", || {
        (temp_roots(&store) > 0).then_some(())
    });
    let start = Instant::now();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(said, "error: interrupted by the user\n");
    assert_eq!(temp_roots(&store), 0);
}
