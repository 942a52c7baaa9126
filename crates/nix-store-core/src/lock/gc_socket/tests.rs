//! Tests of this module.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use super::super::testing::store_path;
use super::*;

fn listen(state_dir: &Path) -> UnixListener {
    let dir = state_dir.join("gc-socket");
    std::fs::create_dir_all(&dir).unwrap();
    let fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    UnixListener::bind(format!("/proc/self/fd/{}/socket", fd.as_raw_fd())).unwrap()
}

#[test]
fn nobody_listens_without_a_directory_a_socket_or_a_listener() {
    let state = tempfile::tempdir().unwrap();
    assert!(GcSocket::connect(state.path()).unwrap().is_none());
    std::fs::create_dir(state.path().join("gc-socket")).unwrap();
    assert!(GcSocket::connect(state.path()).unwrap().is_none());
    drop(listen(state.path()));
    assert!(state.path().join("gc-socket/socket").try_exists().unwrap());
    assert!(GcSocket::connect(state.path()).unwrap().is_none());
}

#[test]
fn connects_on_a_path_that_no_socket_address_can_hold() {
    let state = tempfile::tempdir().unwrap();
    let deep = state.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let listener = listen(&deep);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = BufReader::new(listener.accept().unwrap().0);
            let mut line = String::new();
            client.read_line(&mut line).unwrap();
            assert_eq!(line, format!("{}\n", store_path(1)));
            client.get_mut().write_all(b"1").unwrap();
        });
        let mut socket = GcSocket::connect(&deep).unwrap().unwrap();
        assert_eq!(socket.announce(&[&store_path(1)]).unwrap(), 1);
    });
}

#[test]
fn counts_the_answers_of_a_collector_that_hangs_up() {
    let state = tempfile::tempdir().unwrap();
    let listener = listen(state.path());
    let paths = [1, 2, 3].map(store_path);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = BufReader::new(listener.accept().unwrap().0);
            for _ in 0..2 {
                client.read_line(&mut String::new()).unwrap();
            }
            client.get_mut().write_all(b"11").unwrap();
        });
        let mut socket = GcSocket::connect(state.path()).unwrap().unwrap();
        let paths = paths.each_ref().map(String::as_str);
        // A close with unread lines may take answers with it.
        assert!(socket.announce(&paths).unwrap() <= 2);
    });
}
