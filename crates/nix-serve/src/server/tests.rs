use std::io::{Read, Write};

use nix_base::{
    NarHash, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo, WireRead,
    WireWrite,
};
use nix_store_core::{Durability, StoreConfig, StoreLayout};

use super::*;
use crate::proto::handshake::write_client_hello;
use crate::proto::path_info::write_add_to_store_nar;
use crate::proto::request::QueryValidPaths;
use crate::proto::{Capabilities, ServeCommand, ServeVersion};

struct Fixture {
    temp: tempfile::TempDir,
    options: ServeOptions,
}

fn writable() -> Fixture {
    Fixture {
        temp: tempfile::tempdir().unwrap(),
        options: ServeOptions {
            role: Role::full(),
            ..ServeOptions::default()
        },
    }
}

impl Fixture {
    fn open(&self) -> Result<LocalStore, ServeError> {
        let layout = StoreLayout::chroot(StoreDir::default(), self.temp.path());
        let mut config = StoreConfig::new(layout);
        config.durability = Durability::None;
        Ok(LocalStore::init(config)?)
    }

    /// Sends `request` after a greeting of the newest version; gives the replies after the
    /// server's greeting.
    fn talk(&self, request: &[u8]) -> (Vec<u8>, Result<(), ServeError>) {
        let mut input = hello(8);
        input.extend_from_slice(request);
        let mut output = Vec::new();
        let result = serve(
            &self.options,
            || self.open(),
            &NoBuilds,
            &input[..],
            &mut output,
        );
        assert_eq!(
            output[..16],
            [
                hello_bytes(0x5452_eecb),
                hello_bytes(VersionWord::OURS.to_u64())
            ]
            .concat()
        );
        (output.split_off(16), result)
    }
}

fn hello_bytes(word: u64) -> Vec<u8> {
    word.to_le_bytes().to_vec()
}

fn hello(minor: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let word = VersionWord {
        version: ServeVersion::v2(minor),
        capabilities: Capabilities::NONE,
    };
    write_client_hello(word, &mut out).unwrap();
    out
}

fn path(digit: char) -> StorePath {
    let digits: String = std::iter::repeat_n(digit, 32).collect();
    StorePath::from_base_name(&format!("{digits}-x")).unwrap()
}

fn add(path: &StorePath, contents: &[u8], references: StorePathSet) -> Vec<u8> {
    let mut nar = Vec::new();
    nix_nar::write_regular(contents, false, &mut nar).unwrap();
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
    info.references = references;
    let info = ValidPathInfo {
        path: path.clone(),
        info,
    };
    let mut out = Vec::new();
    out.write_u64(ServeCommand::AddToStoreNar.number()).unwrap();
    write_add_to_store_nar(&info, &StoreDir::default(), &mut out).unwrap();
    out.extend_from_slice(&nar);
    out
}

fn query_valid(paths: &[StorePath]) -> Vec<u8> {
    let request = QueryValidPaths {
        lock: true,
        substitute: false,
        paths: paths.iter().cloned().collect(),
    };
    let mut out = Vec::new();
    out.write_u64(ServeCommand::QueryValidPaths.number())
        .unwrap();
    request.write(&StoreDir::default(), &mut out).unwrap();
    out
}

#[test]
fn ends_cleanly_where_a_command_could_begin() {
    let f = writable();
    for cut in 0..8 {
        let (replies, result) = f.talk(&[1, 0, 0, 0, 0, 0, 0, 0][..cut]);
        assert!(result.is_ok() && replies.is_empty(), "{cut}: {result:?}");
    }
    let (_, result) = f.talk(&query_valid(&[])[..16]);
    assert!(matches!(result, Err(ServeError::Arguments { .. })));
}

#[test]
fn imports_are_acknowledged_before_the_next_reply() {
    let f = writable();
    let (a, b) = (path('a'), path('b'));
    let request = [
        add(&a, b"a", StorePathSet::new()),
        add(&b, b"b", [a.clone()].into()),
        query_valid(&[a.clone(), path('c'), b.clone()]),
    ]
    .concat();
    let (replies, result) = f.talk(&request);
    result.unwrap();
    let mut replies = &replies[..];
    assert_eq!(replies.read_u64("").unwrap(), 1);
    assert_eq!(replies.read_u64("").unwrap(), 1);
    let valid = replies.read_path_set("", &StoreDir::default()).unwrap();
    assert_eq!(valid, [a, b].into());
    assert!(replies.is_empty());
}

#[test]
fn a_bad_import_ends_the_connection_after_the_good_ones_were_acknowledged() {
    let f = writable();
    let (a, b) = (path('a'), path('b'));
    let mut bad = add(&b, b"b", StorePathSet::new());
    let last = bad.len() - 1;
    bad[last] = 1;
    let request = [add(&a, b"a", StorePathSet::new()), bad].concat();
    let (replies, result) = f.talk(&request);
    assert_eq!(replies, 1u64.to_le_bytes());
    assert!(matches!(result, Err(ServeError::Store(_))));
    let store = f.open().unwrap();
    assert!(store.is_valid(&a).unwrap() && !store.is_valid(&b).unwrap());
}

#[test]
fn refusals_come_before_the_arguments() {
    let mut f = writable();
    f.options.role = Role::read_only();
    for (command, text) in [
        (
            4u64,
            "importing paths is not allowed: the server runs without '--write'",
        ),
        (
            9,
            "importing paths is not allowed: the server runs without '--write'",
        ),
        (
            6,
            "building paths is not allowed: the server runs without '--write'",
        ),
        (
            8,
            "building paths is not allowed: the server runs without '--write'",
        ),
        (17, "unknown serve command 17"),
    ] {
        let (replies, result) = f.talk(&command.to_le_bytes());
        assert!(replies.is_empty());
        assert_eq!(result.unwrap_err().to_string(), text);
    }
}

#[test]
fn a_waiting_client_gets_its_acknowledgement_at_once() {
    let f = writable();
    let (reader, mut to_server) = std::io::pipe().unwrap();
    let (mut from_server, writer) = std::io::pipe().unwrap();
    let next = add(&path('b'), b"b", StorePathSet::new());
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&f.options, || f.open(), &NoBuilds, reader, writer));
        to_server.write_all(&hello(7)).unwrap();
        let mut greeting = [0; 16];
        from_server.read_exact(&mut greeting).unwrap();
        to_server
            .write_all(&add(&path('a'), b"a", StorePathSet::new()))
            .unwrap();
        assert_eq!(from_server.read_u64("").unwrap(), 1);
        // Half of the next request: what came before is committed all the same.
        to_server
            .write_all(&add(&path('c'), b"c", StorePathSet::new()))
            .unwrap();
        to_server.write_all(&next[..next.len() / 2]).unwrap();
        assert_eq!(from_server.read_u64("").unwrap(), 1);
        to_server.write_all(&next[next.len() / 2..]).unwrap();
        assert_eq!(from_server.read_u64("").unwrap(), 1);
        drop(to_server);
        server.join().unwrap().unwrap();
    });
}

#[test]
fn a_peer_that_stalls_inside_a_message_is_cut_off() {
    let mut f = writable();
    f.options.stall_timeout = Duration::from_millis(50);
    let (reader, mut to_server) = std::io::pipe().unwrap();
    to_server.write_all(&hello(7)).unwrap();
    to_server
        .write_all(&query_valid(&[path('a')])[..20])
        .unwrap();
    let error = serve(&f.options, || f.open(), &NoBuilds, reader, std::io::sink()).unwrap_err();
    assert!(matches!(error, ServeError::Stalled(_)), "{error}");
}
