//! What a server refuses: the reason on stderr names the command, path or field, the store
//! is as it was, and the exit status is 1.

use test_support::{CLIENT_MAGIC, Message, PathToAdd, ServeSession, TempStore, command};

use crate::program::{nix_serve, on, run};

/// What a server with a fresh store says when `speak` is over.
fn refused(words: &[&str], speak: impl FnOnce(&mut ServeSession)) -> String {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let address = store.address();
    let words = words.iter().copied().chain(["--store", &address]);
    let mut session = ServeSession::spawn(nix_serve(words));
    speak(&mut session);
    assert!(
        session.at_end(),
        "the server answered:\n{}",
        session.transcript()
    );
    let ended = session.finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert_eq!(
        store.names(),
        [".links"],
        "the store directory is as it was"
    );
    let roots = store.state_dir().join("temproots");
    assert_eq!(std::fs::read_dir(roots).unwrap().count(), 0);
    assert!(run(on(&store, ["dump-db"])).lines().is_empty());
    ended.stderr
}

/// The same for a writing server after the greeting.
fn refused_request(request: &Message) -> String {
    refused(&["serve", "--write"], |session| {
        session.handshake(7);
        // The server may have gone before it read everything.
        let _ = session.try_send(request.as_bytes());
        session.close_input();
    })
}

fn refused_path(path: &PathToAdd) -> String {
    refused_request(&path.request())
}

const MISSING: &str = "/nix/store/00000000000000000000000000000000-missing";

#[test]
fn a_wrong_magic() {
    let said = refused_greeting(&Message::new().u64(0x1234).u64(0x207));
    insta::assert_snapshot!(said, @r#"error: the client doesn't speak the serve protocol: protocol mismatch, got '4\u{12}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}'"#);
}

#[test]
fn another_major_version() {
    let said = refused_greeting(&Message::new().u64(CLIENT_MAGIC).u64(0x107));
    insta::assert_snapshot!(said, @"error: the client doesn't speak the serve protocol: unsupported protocol version 1.7: only major version 2 is spoken");
    let said = refused_greeting(&Message::new().u64(CLIENT_MAGIC).u64(0x307));
    insta::assert_snapshot!(said, @"error: the client doesn't speak the serve protocol: unsupported protocol version 3.7: only major version 2 is spoken");
}

/// What a server says to a greeting; whether it greets back before that is its own affair.
fn refused_greeting(greeting: &Message) -> String {
    let store = TempStore::new();
    let address = store.address();
    let mut session = ServeSession::spawn(nix_serve(["serve", "--write", "--store", &address]));
    let _ = session.try_send(greeting.as_bytes());
    let ended = session.finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(store.names().is_empty(), "no store was made");
    ended.stderr
}

#[test]
fn an_unknown_command() {
    let said = refused_request(&Message::new().u64(77).string("payload"));
    insta::assert_snapshot!(said, @"error: unknown serve command 77");
}

#[test]
fn a_path_that_is_no_store_path() {
    let said = refused_request(&Message::query_valid_paths(false, false, ["/etc/passwd"]));
    insta::assert_snapshot!(said, @"error: cannot read the arguments of command QueryValidPaths: the paths queried is not a store path: path '/etc/passwd' is not in the Nix store");
    let said = refused_request(&Message::query_path_infos(["/nix/store/short"]));
    insta::assert_snapshot!(said, @"error: cannot read the arguments of command QueryPathInfos: the paths queried is not a store path: path 'short' is not a valid store path: it must start with 32 base-32 digits and a dash");
    let said = refused_request(&Message::dump_store_path("/nix/store/../../etc/passwd"));
    insta::assert_snapshot!(said, @"error: cannot read the arguments of command DumpStorePath: the path to dump is not a store path: path '/nix/store/../../etc/passwd' is not in the Nix store");
    let said = refused_request(&Message::query_closure(false, [format!("{MISSING}/sub")]));
    insta::assert_snapshot!(said, @"error: cannot read the arguments of command QueryClosure: the paths queried is not a store path: path '/nix/store/00000000000000000000000000000000-missing/sub' is not in the Nix store");
    let mut path = PathToAdd::numbered("a", 1, b"contents");
    path.path = "/nix/store/.-x".into();
    insta::assert_snapshot!(refused_path(&path), @"error: cannot read the arguments of command AddToStoreNar: the path to add is not a store path: path '.-x' is not a valid store path: it must start with 32 base-32 digits and a dash");
}

#[test]
fn a_path_that_is_not_valid() {
    let said = refused_request(&Message::dump_store_path(MISSING));
    insta::assert_snapshot!(said, @"error: path '/nix/store/00000000000000000000000000000000-missing' is not valid");
    let said = refused_request(&Message::query_closure(false, [MISSING]));
    insta::assert_snapshot!(said, @"error: path '/nix/store/00000000000000000000000000000000-missing' is not valid");
}

#[test]
fn an_archive_with_another_hash() {
    let mut path = PathToAdd::numbered("a", 1, b"contents");
    path.nar_hash = "0".repeat(64);
    insta::assert_snapshot!(refused_path(&path), @"error: hash mismatch in path '/nix/store/a0000000000000000000000000000001-item-1': expected 'sha256:0000000000000000000000000000000000000000000000000000000000000000', got 'sha256:ef963d49c2bb503cbe6068fcbb1655db3c289467d0c41f665e20b0c30c5d0d7f'");
}

#[test]
fn an_archive_with_another_size() {
    let mut path = PathToAdd::numbered("a", 1, b"contents");
    path.nar_size += 8;
    insta::assert_snapshot!(refused_path(&path), @"error: size mismatch in path '/nix/store/a0000000000000000000000000000001-item-1': expected 128 bytes, got 120");
    path.nar_size -= 16;
    insta::assert_snapshot!(refused_path(&path), @"error: cannot unpack the archive of path '/nix/store/a0000000000000000000000000000001-item-1': bad archive: archive is longer than 112 bytes (offset 88, in '')");
}

#[test]
fn a_content_address_that_gives_another_path() {
    let mut path = PathToAdd::added_file("file", b"contents");
    path.path = path.path.replace("-file", "-other");
    insta::assert_snapshot!(refused_path(&path), @"error: cannot add path '/nix/store/348qc798ci2labab55s8r7bl0kjk5nvz-other' to the Nix store because it claims to be content-addressed but isn't");
}

#[test]
fn a_reference_that_is_missing() {
    let path = PathToAdd::numbered("a", 1, b"contents").referring_to([MISSING]);
    insta::assert_snapshot!(refused_path(&path), @"error: path '/nix/store/00000000000000000000000000000000-missing' is not valid");
}

#[test]
fn an_archive_that_is_cut_short() {
    let path = PathToAdd::numbered("a", 1, b"contents");
    let cut = path
        .request_head()
        .raw_owned(&path.nar[..path.nar.len() - 20]);
    insta::assert_snapshot!(refused_request(&cut), @"error: cannot unpack the archive of path '/nix/store/a0000000000000000000000000000001-item-1': bad archive: unexpected end-of-file (offset 100, in '')");
}

#[test]
fn an_archive_that_breaks_the_format() {
    let mut path = PathToAdd::numbered("a", 1, b"contents");
    path.nar[40] ^= 1;
    insta::assert_snapshot!(refused_path(&path), @r#"error: cannot unpack the archive of path '/nix/store/a0000000000000000000000000000001-item-1': bad archive: expected tag 'type', got 'type\u{0}' (offset 40, in '')"#);
}

#[test]
fn arguments_that_end_too_early() {
    let cut = Message::new().u64(command::QUERY_VALID_PATHS).u64(0);
    insta::assert_snapshot!(refused_request(&cut), @"error: cannot read the arguments of command QueryValidPaths: unexpected end-of-file while reading substitute");
}

#[test]
fn lengths_beyond_every_limit() {
    let long = Message::new().u64(command::DUMP_STORE_PATH).u64(1 << 40);
    insta::assert_snapshot!(refused_request(&long), @"error: cannot read the arguments of command DumpStorePath: the path to dump is too long: 1099511627776 bytes where at most 4096 are allowed");
    let many = Message::new().u64(command::QUERY_PATH_INFOS).u64(u64::MAX);
    insta::assert_snapshot!(refused_request(&many), @"error: cannot read the arguments of command QueryPathInfos: the paths queried has too many items: 18446744073709551615 where at most 1000000 are allowed");
}

#[test]
fn writing_without_permission() {
    let of = |number: u64| {
        refused(&["serve"], |session| {
            session.handshake(7);
            session.send(&Message::new().u64(number));
        })
    };
    insta::assert_snapshot!(of(command::ADD_TO_STORE_NAR), @"error: importing paths is not allowed: the server runs without '--write'");
    insta::assert_snapshot!(of(command::IMPORT_PATHS), @"error: importing paths is not allowed: the server runs without '--write'");
    insta::assert_snapshot!(of(command::BUILD_PATHS), @"error: building paths is not allowed: the server runs without '--write'");
    insta::assert_snapshot!(of(command::BUILD_DERIVATION), @"error: building paths is not allowed: the server runs without '--write'");
}
