use std::process::Command;

use super::*;
use crate::client::fake_server::{connect, path};
use crate::client::remote_store::query_valid_paths;
use crate::proto::handshake::SERVER_MAGIC;
use crate::proto::request::QueryValidPaths;
use nix_base::{StorePathSet, WireRead};

fn ask(connection: &mut ClientConnection, paths: usize) -> Result<StorePathSet> {
    let paths = (0..paths).map(|i| path(&format!("p{i}"))).collect();
    let request = QueryValidPaths {
        lock: true,
        substitute: false,
        paths,
    };
    query_valid_paths(connection, &request)
}

fn shell(script: &str) -> ClientConnection {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let transport = Transport::spawn(command, "ssh://u@host".into(), Box::new(|_| {})).unwrap();
    ClientConnection::new(transport, StoreDir::default())
}

#[test]
fn the_first_request_does_not_wait_for_the_greeting() {
    let (mut connection, server) = connect(|wire| {
        // Nothing is answered before all of the request is there.
        let mut hello = [0; 16];
        wire.requests.read_exact(&mut hello).unwrap();
        wire.expect(ServeCommand::QueryValidPaths);
        let request = QueryValidPaths::read(&StoreDir::default(), &mut wire.requests).unwrap();
        wire.replies.write_u64(SERVER_MAGIC).unwrap();
        wire.replies.write_u64(0x207).unwrap();
        wire.replies.write_u64(0).unwrap();
        (hello, request.lock, wire.at_end())
    });
    assert!(ask(&mut connection, 1).unwrap().is_empty());
    assert_eq!(connection.version(), Some(ServeVersion::v2(7)));
    connection.finish();
    let (hello, lock, at_end) = server.join().unwrap();
    assert_eq!(hello[..8], [0xeb, 0x9d, 0x0c, 0x39, 0, 0, 0, 0]);
    assert_eq!(hello[8..], [8, 2, 1, 0, 0, 0, 0, 0]);
    assert!(lock && at_end);
}

#[test]
fn the_lower_version_is_in_force_and_foreign_flags_are_ignored() {
    for (announced, expected) in [(0x200, 0), (0x205, 5), (0x2c8, 8), (0x8000_0207, 7)] {
        let (mut connection, server) = connect(move |wire| {
            wire.replies.write_u64(SERVER_MAGIC).unwrap();
            wire.replies.write_u64(announced).unwrap();
            wire.at_end();
        });
        assert_eq!(connection.handshake().unwrap(), ServeVersion::v2(expected));
        connection.finish();
        server.join().unwrap();
    }
}

/// A connection to a server of the newest version that lists `names`.
fn connect_listing(names: &'static [&'static str]) -> ClientConnection {
    let (connection, _) = connect(move |wire| {
        wire.replies.write_u64(SERVER_MAGIC).unwrap();
        wire.replies.write_u64(0xffff_0208).unwrap();
        wire.replies.write_u64(names.len() as u64).unwrap();
        for name in names {
            wire.replies.write_str(name).unwrap();
        }
        let mut rest = Vec::new();
        wire.requests.read_to_end(&mut rest).unwrap();
    });
    connection
}

#[test]
fn features_in_force_are_those_that_both_know() {
    for (names, has_proof) in [
        (&[][..], false),
        (&["proof"], true),
        (&["new", "proof", "proofs"], true),
        (&["proofs"], false),
    ] {
        let mut connection = connect_listing(names);
        assert_eq!(connection.has_feature(Feature::Proof).unwrap(), has_proof);
        assert_eq!(connection.version(), Some(ServeVersion::LATEST));
    }
}

#[test]
fn a_list_of_features_that_breaks_the_rules_ends_the_connection() {
    for names in [&["proof", "new"][..], &["\u{1b}[31m"]] {
        let mut connection = connect_listing(names);
        let error = connection.handshake().unwrap_err();
        assert!(matches!(error, ClientError::Reply { .. }), "{error}");
        let again = connection.has_feature(Feature::Proof);
        assert!(again.is_err());
    }
}

#[test]
fn the_list_of_features_may_come_with_the_first_reply() {
    let (mut connection, server) = connect(|wire| {
        wire.greet_with(Features::ALL);
        wire.expect(ServeCommand::QueryValidPaths);
        QueryValidPaths::read(&StoreDir::default(), &mut wire.requests).unwrap();
        wire.replies.write_u64(0).unwrap();
    });
    assert!(ask(&mut connection, 1).unwrap().is_empty());
    assert!(connection.has_feature(Feature::Proof).unwrap());
    server.join().unwrap();
}

#[test]
fn a_long_request_does_not_block_a_long_reply() {
    // The server writes far more than a pipe holds before it reads the request.
    let (mut connection, server) = connect(|wire| {
        let dir = StoreDir::default();
        let paths: StorePathSet = (0..3000).map(|i| path(&format!("p{i}"))).collect();
        wire.greet(7);
        wire.replies.write_path_set(&dir, &paths).unwrap();
        wire.expect(ServeCommand::QueryValidPaths);
        QueryValidPaths::read(&dir, &mut wire.requests).unwrap();
    });
    assert_eq!(ask(&mut connection, 3000).unwrap().len(), 3000);
    server.join().unwrap();
}

#[test]
fn a_server_that_stops_reading_and_dies_ends_the_request() {
    let (mut connection, server) = connect(|wire| {
        wire.greet(7);
    });
    let error = ask(&mut connection, 3000).unwrap_err();
    assert!(error.is_connection_lost(), "{error}");
    insta::assert_snapshot!(error, @"no proper answer from 'fake' to QueryValidPaths");
    server.join().unwrap();
    let again = ask(&mut connection, 1).unwrap_err();
    insta::assert_snapshot!(again, @"the connection to 'fake' is closed");
}

#[test]
fn a_talkative_shell_is_quoted() {
    let mut connection = shell("echo 'Welcome to host!'; echo; echo enjoy");
    let error = connection.handshake().unwrap_err();
    insta::assert_snapshot!(error, @r"
    'nix-store --serve' protocol mismatch from 'ssh://u@host', got 'Welcome to host!

    enjoy'
    ");
}

#[test]
fn endless_noise_is_cut() {
    let mut connection = shell("while :; do echo mmmmmmmmmmmmmmmmmmmmmmmmmmm; done");
    let error = connection.handshake().unwrap_err().to_string();
    assert!((900..1200).contains(&error.len()), "{}", error.len());
}

#[test]
fn noise_shorter_than_the_magic_number_is_quoted() {
    let mut connection = shell("printf 'hi\\033'");
    let error = connection.handshake().unwrap_err();
    insta::assert_snapshot!(error, @r"'nix-store --serve' protocol mismatch from 'ssh://u@host', got 'hi\u{1b}'");
}

#[test]
fn silence_is_explained_by_stderr_and_exit_status() {
    let mut connection = shell("echo 'ssh: no route' >&2; exit 255");
    let error = connection.handshake().unwrap_err();
    insta::assert_snapshot!(error, @"cannot connect to 'ssh://u@host': it said 'ssh: no route' (exit status: 255)");
    assert!(error.is_connection_lost());
}

#[test]
fn an_end_in_the_middle_of_a_reply_is_explained_as_well() {
    let mut connection = shell(
        "printf '\\313\\356RT\\0\\0\\0\\0\\7\\2\\0\\0\\0\\0\\0\\0\\1'; cat >/dev/null &
         echo 'error: disk is full' >&2; exec 1>&-; sleep 0; exit 1",
    );
    let error = ask(&mut connection, 2000).unwrap_err();
    insta::assert_snapshot!(error, @"no proper answer from 'ssh://u@host' to QueryValidPaths: it said 'error: disk is full' (exit status: 1)");
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"unexpected end-of-file while reading the valid paths");
}

#[test]
fn another_major_version_is_refused() {
    let (mut connection, server) = connect(|wire| {
        wire.replies.write_u64(SERVER_MAGIC).unwrap();
        wire.replies.write_u64(0x101).unwrap();
    });
    let error = connection.handshake().unwrap_err();
    insta::assert_snapshot!(error, @"unsupported 'nix-store --serve' protocol version 1.1 on 'fake'");
    server.join().unwrap();
}

#[test]
fn paths_that_were_not_asked_about_are_refused() {
    let (mut connection, server) = connect(|wire| {
        let dir = StoreDir::default();
        wire.greet(7);
        wire.expect(ServeCommand::QueryValidPaths);
        QueryValidPaths::read(&dir, &mut wire.requests).unwrap();
        let other = StorePathSet::from([path("other")]);
        wire.replies.write_path_set(&dir, &other).unwrap();
    });
    let error = ask(&mut connection, 1).unwrap_err();
    insta::assert_snapshot!(error, @"refusing what 'fake' says of '/nix/store/11111111111111111111111111111111-other': it was not asked for");
    server.join().unwrap();
}

#[test]
fn a_count_beyond_all_reason_is_refused_without_waiting() {
    let (mut connection, server) = connect(|wire| {
        wire.greet(7);
        wire.replies.write_u64(u64::MAX).unwrap();
        wire.requests.read_u64("the command").unwrap();
        // Stays until the client gives up.
        let mut rest = Vec::new();
        wire.requests.read_to_end(&mut rest).unwrap();
    });
    let error = ask(&mut connection, 1).unwrap_err();
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"the valid paths has too many items: 18446744073709551615 where at most 1000000 are allowed");
    drop(connection);
    server.join().unwrap();
}
