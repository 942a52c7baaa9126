use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, NarHash, SecretKey, WireRead,
};

use super::*;
use crate::client::NoProgress;
use crate::client::fake_server::{MemoryServer, Object, Wire, connect, object, path};
use crate::proto::ServeVersion;
use crate::proto::path_info::{write_path_info_item, write_path_infos_end};

/// A store in memory that checks what it takes.
#[derive(Default)]
struct Importer {
    valid: BTreeMap<StorePath, Object>,
    finished: bool,
}

impl NarImporter for Importer {
    fn query_valid(&mut self, paths: &StorePathSet) -> Result<StorePathSet, BoxError> {
        let valid = paths.iter().filter(|path| self.valid.contains_key(*path));
        Ok(valid.cloned().collect())
    }

    fn import(&mut self, info: &ValidPathInfo, mut nar: &mut dyn BufRead) -> Result<(), BoxError> {
        let mut bytes = Vec::new();
        nix_nar::copy(&mut nar, &mut bytes)?;
        let hash = NarHash::of(&bytes);
        if !info.nar_hash.is_unknown() && info.nar_hash != hash {
            return Err("hash mismatch".into());
        }
        let mut info = info.clone();
        info.info.nar_hash = hash;
        info.info.nar_size = bytes.len() as u64;
        let stored = Object { info, nar: bytes };
        self.valid.insert(stored.info.path.clone(), stored);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        self.finished = true;
        Ok(())
    }
}

fn copy(
    connection: &mut ClientConnection,
    wanted: &[&str],
    options: &CopyFromOptions,
    importer: &mut Importer,
) -> Result<CopySummary> {
    let wanted = wanted.iter().map(|name| path(name)).collect();
    let plan = CopyFromPlan::make(connection, &wanted, options, importer)?;
    plan.fetch(connection, importer, &NoProgress)
}

/// Copies `a` from a server with these objects and gives the error.
fn refusal(objects: &[Object], options: &CopyFromOptions) -> String {
    let (mut connection, server) = MemoryServer::with(objects.to_vec()).start(7);
    let mut importer = Importer::default();
    let error = copy(&mut connection, &["a"], options, &mut importer).unwrap_err();
    assert!(importer.valid.is_empty());
    drop(connection);
    server.join().unwrap();
    error.to_string()
}

fn closure() -> Vec<Object> {
    vec![
        object("top", &[7; 50_000], &["top", "left", "right"]),
        object("left", b"l", &["base"]),
        object("right", b"", &["base"]),
        object("base", &[1; 9000], &[]),
        object("unrelated", b"x", &[]),
    ]
}

#[test]
fn every_version_gives_what_is_missing_and_no_more() {
    for minor in 0..=8 {
        let objects = closure();
        let (mut connection, server) = MemoryServer::with(objects.clone()).start(minor);
        let mut importer = Importer::default();
        importer.valid.insert(path("base"), objects[3].clone());
        let options = CopyFromOptions::default();
        let summary = copy(&mut connection, &["top"], &options, &mut importer).unwrap();
        assert_eq!(summary.paths, 3);
        connection.finish();
        let expected = MemoryServer::with(objects[..4].to_vec()).objects;
        assert_eq!(importer.valid, expected, "2.{minor}");
        assert!(importer.finished);
        let dump = ServeCommand::DumpStorePath;
        assert_eq!(
            server.join().unwrap().commands,
            [
                ServeCommand::QueryClosure,
                ServeCommand::QueryPathInfos,
                dump,
                dump,
                dump
            ]
        );
    }
}

#[test]
fn what_is_valid_already_is_not_fetched() {
    let objects = closure();
    let (mut connection, server) = MemoryServer::with(objects.clone()).start(7);
    let mut importer = Importer {
        valid: MemoryServer::with(objects).objects,
        finished: false,
    };
    let options = CopyFromOptions::default();
    let summary = copy(&mut connection, &["top"], &options, &mut importer).unwrap();
    assert_eq!(summary, CopySummary::default());
    connection.finish();
    assert_eq!(
        server.join().unwrap().commands,
        [ServeCommand::QueryClosure]
    );
}

#[test]
fn without_recursion_the_references_must_be_here() {
    let options = CopyFromOptions {
        no_recursive: true,
        ..CopyFromOptions::default()
    };
    let objects = [object("a", b"a", &["b"]), object("b", b"b", &[])];
    insta::assert_snapshot!(refusal(&objects, &options), @"refusing what 'fake' says of '/nix/store/11111111111111111111111111111111-a': it refers to '/nix/store/11111111111111111111111111111111-b', which is neither copied nor valid here");
    let (mut connection, server) = MemoryServer::with(objects.clone()).start(7);
    let mut importer = Importer::default();
    importer.valid.insert(path("b"), objects[1].clone());
    let summary = copy(&mut connection, &["a"], &options, &mut importer).unwrap();
    assert_eq!(summary.paths, 1);
    connection.finish();
    server.join().unwrap();
}

#[test]
fn all_nars_are_asked_for_before_the_first_comes() {
    let objects: Vec<_> = (0..100)
        .map(|i| object(&format!("n{i:02}"), &[1; 3000], &[]))
        .collect();
    let infos = objects.clone();
    let (mut connection, server) = connect(move |wire| {
        let dir = StoreDir::default();
        let version = wire.greet(7);
        wire.expect(ServeCommand::QueryPathInfos);
        wire.requests.read_path_set("the paths", &dir).unwrap();
        for object in &infos {
            write_path_info_item(&object.info, &dir, version, &mut wire.replies).unwrap();
        }
        write_path_infos_end(&mut wire.replies).unwrap();
        for object in &infos {
            wire.expect(ServeCommand::DumpStorePath);
            let asked = wire.requests.read_path("the path", &dir).unwrap();
            assert_eq!(asked, object.info.path);
        }
        for object in &infos {
            wire.replies.write_all(&object.nar).unwrap();
        }
    });
    let names: Vec<_> = objects
        .iter()
        .map(|o| o.info.path.name().to_string())
        .collect();
    let wanted: Vec<_> = names.iter().map(String::as_str).collect();
    let options = CopyFromOptions {
        no_recursive: true,
        ..CopyFromOptions::default()
    };
    let mut importer = Importer::default();
    copy(&mut connection, &wanted, &options, &mut importer).unwrap();
    assert_eq!(importer.valid, MemoryServer::with(objects).objects);
    server.join().unwrap();
}

#[test]
fn content_that_differs_from_its_metadata_is_refused() {
    let options = CopyFromOptions::default();
    let mut altered = object("a", b"good", &[]);
    altered.nar = object("a", b"evil", &[]).nar;
    insta::assert_snapshot!(refusal(&[altered], &options), @"cannot import '/nix/store/11111111111111111111111111111111-a' from 'fake'");
    let mut longer = object("a", b"good", &[]);
    longer.nar = object("a", &[1; 500], &[]).nar;
    insta::assert_snapshot!(refusal(&[longer], &options), @"cannot import '/nix/store/11111111111111111111111111111111-a' from 'fake'");
    let mut sizeless = object("a", b"good", &[]);
    sizeless.info.info.nar_size = 0;
    insta::assert_snapshot!(refusal(&[sizeless], &options), @"refusing what 'fake' says of '/nix/store/11111111111111111111111111111111-a': its NAR size is missing");
}

#[test]
fn a_nar_shorter_than_announced_is_refused() {
    let mut shorter = object("a", b"good", &[]);
    shorter.info.info.nar_size += 8;
    let (mut connection, server) = MemoryServer::with([shorter]).start(7);
    let options = CopyFromOptions::default();
    let error = copy(&mut connection, &["a"], &options, &mut Importer::default()).unwrap_err();
    insta::assert_snapshot!(error, @"NAR of '/nix/store/11111111111111111111111111111111-a' should have 128 bytes but has 120");
    drop(connection);
    server.join().unwrap();
}

#[test]
fn paths_that_are_not_those_of_their_content_address_are_refused() {
    let mut claimed = object("a", b"good", &[]);
    claimed.info.info.ca = Some(ContentAddress {
        method: ContentAddressMethod::NixArchive,
        hash: Hash::of(HashAlgo::Sha256, &claimed.nar),
    });
    insta::assert_snapshot!(refusal(&[claimed], &CopyFromOptions::default()), @"refusing what 'fake' says of '/nix/store/11111111111111111111111111111111-a': its path is not that of its content address");
}

#[test]
fn where_keys_are_given_a_signature_by_one_is_needed() {
    let key = |name: &str, seed: u8| SecretKey::from_seed(name, &[seed; 32]);
    let options = CopyFromOptions {
        trusted_keys: Some(vec![key("good", 1).public_key()]),
        ..CopyFromOptions::default()
    };
    let mut signed = object("a", b"x", &[]);
    signed.info.sign(&StoreDir::default(), &key("good", 2));
    insta::assert_snapshot!(refusal(&[signed.clone()], &options), @"refusing what 'fake' says of '/nix/store/11111111111111111111111111111111-a': it lacks a signature by a trusted key");
    signed.info.sign(&StoreDir::default(), &key("good", 1));
    let (mut connection, server) = MemoryServer::with([signed]).start(7);
    copy(&mut connection, &["a"], &options, &mut Importer::default()).unwrap();
    connection.finish();
    server.join().unwrap();
}

/// Asks for `a` alone and gives the error after `reply` was written for its metadata.
fn refusal_of(reply: impl FnOnce(&mut Wire, ServeVersion) + Send + 'static) -> ClientError {
    let (mut connection, server) = connect(|wire| {
        let version = wire.greet(7);
        wire.expect(ServeCommand::QueryPathInfos);
        wire.requests
            .read_path_set("the paths", &StoreDir::default())
            .unwrap();
        reply(wire, version);
    });
    let options = CopyFromOptions {
        no_recursive: true,
        ..CopyFromOptions::default()
    };
    let mut importer = Importer::default();
    let error = copy(&mut connection, &["a"], &options, &mut importer).unwrap_err();
    assert!(importer.valid.is_empty());
    server.join().unwrap();
    error
}

fn tell(wire: &mut Wire, version: ServeVersion, names: &[&str]) {
    for name in names {
        let info = object(name, b"x", &[]).info;
        write_path_info_item(&info, &StoreDir::default(), version, &mut wire.replies).unwrap();
    }
    write_path_infos_end(&mut wire.replies).unwrap();
}

#[test]
fn metadata_are_only_taken_of_what_was_asked_and_once() {
    let told = |names: &'static [&str]| {
        refusal_of(move |wire, version| tell(wire, version, names)).to_string()
    };
    insta::assert_snapshot!(told(&["b"]), @"refusing what 'fake' says of '/nix/store/11111111111111111111111111111111-b': it was not asked for");
    insta::assert_snapshot!(told(&["a", "a"]), @"no proper answer from 'fake' to QueryPathInfos");
    insta::assert_snapshot!(told(&[]), @"refusing what 'fake' says of '/nix/store/11111111111111111111111111111111-a': it is not valid there");
}

#[test]
fn malformed_metadata_are_refused_with_the_field() {
    let error = refusal_of(|wire, _| {
        let dir = StoreDir::default();
        wire.replies.write_path(&dir, &path("a")).unwrap();
        for _ in 0..2 {
            wire.replies.write_u64(0).unwrap();
        }
        wire.replies.write_u64(1).unwrap();
        wire.replies.write_u64(1).unwrap();
        wire.replies.write_str("md5:abc").unwrap();
    });
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"the NAR hash is not a SHA-256");
}

#[test]
fn a_server_that_dies_within_a_nar_is_the_error_and_what_came_stays() {
    let objects = [object("a", b"first", &[]), object("b", &[1; 9000], &[])];
    let told = objects.clone();
    let (mut connection, server) = connect(move |wire| {
        let dir = StoreDir::default();
        let version = wire.greet(7);
        wire.expect(ServeCommand::QueryPathInfos);
        wire.requests.read_path_set("the paths", &dir).unwrap();
        for object in &told {
            write_path_info_item(&object.info, &dir, version, &mut wire.replies).unwrap();
        }
        write_path_infos_end(&mut wire.replies).unwrap();
        wire.replies.write_all(&told[0].nar).unwrap();
        wire.replies.write_all(&told[1].nar[..5000]).unwrap();
    });
    let options = CopyFromOptions {
        no_recursive: true,
        ..CopyFromOptions::default()
    };
    let mut importer = Importer::default();
    let error = copy(&mut connection, &["a", "b"], &options, &mut importer).unwrap_err();
    insta::assert_snapshot!(error, @"no proper answer from 'fake' to DumpStorePath for '/nix/store/11111111111111111111111111111111-b'");
    assert!(error.is_connection_lost());
    assert_eq!(importer.valid.len(), 1);
    assert!(importer.finished);
    server.join().unwrap();
}

#[test]
fn a_closure_without_its_root_is_refused() {
    let (mut connection, server) = connect(|wire| {
        wire.greet(7);
        wire.expect(ServeCommand::QueryClosure);
        QueryClosure::read(&StoreDir::default(), &mut wire.requests).unwrap();
        wire.replies.write_u64(0).unwrap();
    });
    let options = CopyFromOptions::default();
    let error = copy(&mut connection, &["a"], &options, &mut Importer::default()).unwrap_err();
    insta::assert_snapshot!(error, @"refusing what 'fake' says of '/nix/store/11111111111111111111111111111111-a': it is not in its own closure");
    server.join().unwrap();
}
