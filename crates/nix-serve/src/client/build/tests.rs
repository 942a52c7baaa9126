use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use nix_base::{
    BuildStatus, ContentAddress, DrvOutput, Hash, HashAlgo, OutputName, Realisation, StoreDir,
    WireRead,
};
use nix_drv::proof::{PackedInput, ProofText};
use nix_drv::{DerivationOutput, drv_name};

use super::*;
use crate::client::fake_server::{Wire, connect, path};
use crate::proto::build_result::write_build_result;
use crate::proto::options::read_build_options;
use crate::proto::{Features, ProtoError, ServeVersion};

fn derivation() -> BasicDerivation {
    let output = DerivationOutput::InputAddressed(path("x"));
    BasicDerivation {
        name: "x".parse().unwrap(),
        outputs: BTreeMap::from([(OutputName::new("out").unwrap(), output)]),
        input_srcs: [path("source")].into(),
        platform: "x86_64-linux".into(),
        builder: "/bin/sh".into(),
        args: vec!["-c".into(), "exit 0".into()],
        // More than the pipe of the fake server holds.
        env: BTreeMap::from([("big".into(), "y".repeat(20_000).into())]),
    }
}

fn options() -> BuildOptions {
    BuildOptions {
        max_silent_time: 1,
        build_timeout: 2,
        max_log_size: 3,
        keep_failed: true,
        ..BuildOptions::default()
    }
}

fn success() -> BuildResult {
    let output = OutputName::new("out").unwrap();
    let realisation = Realisation {
        id: DrvOutput::stand_in(output.clone()),
        out_path: path("x"),
        signatures: [].into(),
        dependent_realisations: BTreeMap::new(),
    };
    BuildResult {
        times_built: 1,
        start_time: 10,
        stop_time: 20,
        built_outputs: BTreeMap::from([(output, realisation)]),
        ..BuildResult::failure(BuildStatus::Built, "")
    }
}

/// Reads what must be the request for [`derivation`].
fn take_request(wire: &mut Wire, version: ServeVersion) -> BuildOptions {
    take_request_of(ServeCommand::BuildDerivation, wire, version)
}

fn take_request_of(command: ServeCommand, wire: &mut Wire, version: ServeVersion) -> BuildOptions {
    let dir = StoreDir::default();
    wire.expect(command);
    let drv_path = wire.requests.read_path("drv", &dir).unwrap();
    assert_eq!(drv_path, path("x.drv"));
    let name = drv_name(&drv_path).unwrap();
    let drv = BasicDerivation::read_wire(&mut wire.requests, &dir, &name).unwrap();
    assert_eq!(drv, derivation());
    read_build_options(version, &mut wire.requests).unwrap()
}

fn proof() -> PackedProof {
    let input = |byte, text| PackedInput {
        hash: [byte; 32],
        text,
        wanted: [OutputName::new("out").unwrap()].into(),
    };
    let text = ProofText::new(*b"text");
    let sent = PackedInput {
        hash: *text.hash(),
        ..input(0, Some(text))
    };
    let mut inputs = vec![input(9, None), sent];
    inputs.sort_by_key(|input| input.hash);
    PackedProof {
        sources: [path("source")].into(),
        inputs,
    }
}

#[test]
fn features_are_announced_once_and_before_the_first_command_of_one() {
    let (connection, server) = connect(|wire| {
        let dir = StoreDir::default();
        wire.greet_with(Features::ALL);
        wire.expect(ServeCommand::AnnounceFeatures);
        let theirs = Features::read(&mut wire.requests).unwrap();
        assert_eq!(theirs, Features::ALL);
        wire.expect(ServeCommand::QueryProofTexts);
        let asked = read_text_hashes("texts", &mut wire.requests).unwrap();
        let first: BTreeSet<_> = asked.into_iter().take(1).collect();
        write_text_hashes(&first, &mut wire.replies).unwrap();

        let version = ServeVersion::LATEST;
        take_request_of(ServeCommand::BuildDerivationWithProof, wire, version);
        assert_eq!(
            PackedProof::read(&mut wire.requests, &dir).unwrap(),
            proof()
        );
        write_build_result(&success(), &dir, version, &mut wire.replies).unwrap();
        assert!(wire.at_end());
    });
    let mut store = RemoteStore::new(connection);
    let missing = store.query_proof_texts(&[[2; 32], [1; 32]].into()).unwrap();
    assert_eq!(missing, [[1; 32]].into());
    let result = store
        .build_derivation_with_proof(&path("x.drv"), &derivation(), &options(), &proof())
        .unwrap();
    assert_eq!(result, success());
    store.finish();
    server.join().unwrap();
}

#[test]
fn servers_without_the_feature_are_sent_nothing_of_it() {
    let (connection, server) = connect(|wire| {
        wire.greet_with(Features::NONE);
        assert!(wire.at_end());
    });
    let mut store = RemoteStore::new(connection);
    let error = store.query_proof_texts(&[[1; 32]].into()).unwrap_err();
    insta::assert_snapshot!(error, @"'fake' does not have the feature 'proof'");
    let drv = derivation();
    let error = store
        .build_derivation_with_proof(&path("x.drv"), &drv, &options(), &proof())
        .unwrap_err();
    assert!(matches!(error, ClientError::NoFeature { .. }));
    store.finish();
    server.join().unwrap();
}

#[test]
fn texts_that_were_not_asked_about_are_refused() {
    let (connection, server) = connect(|wire| {
        wire.greet_with(Features::ALL);
        write_text_hashes(&[[3; 32]].into(), &mut wire.replies).unwrap();
        let mut rest = Vec::new();
        wire.requests.read_to_end(&mut rest).unwrap();
    });
    let mut store = RemoteStore::new(connection);
    let error = store.query_proof_texts(&[[1; 32]].into()).unwrap_err();
    insta::assert_snapshot!(error, @"no proper answer from 'fake' to QueryProofTexts");
    let source = std::error::Error::source(&error).unwrap();
    insta::assert_snapshot!(source, @"a text of a proof was not asked for");
    drop(store);
    server.join().unwrap();
}

#[test]
fn each_version_gets_the_options_and_gives_the_results_that_it_has() {
    for minor in 1..=8 {
        let (connection, server) = connect(move |wire| {
            let version = wire.greet(minor);
            let options = take_request(wire, version);
            let dir = StoreDir::default();
            write_build_result(&success(), &dir, version, &mut wire.replies).unwrap();
            options
        });
        let mut store = RemoteStore::new(connection);
        let result = store
            .build_derivation(&path("x.drv"), &derivation(), &options())
            .unwrap();
        let got = server.join().unwrap();
        assert_eq!(got.max_silent_time, 1);
        assert_eq!(got.max_log_size, if minor >= 2 { 3 } else { 0 });
        assert_eq!(got.keep_failed, minor >= 7);
        assert_eq!(result.status, BuildStatus::Built);
        assert_eq!(result.times_built, u32::from(minor >= 3));
        assert_eq!(result.built_outputs.len(), usize::from(minor >= 6));
    }
}

#[test]
fn requests_stay_open_until_the_reply_is_read() {
    let (connection, server) = connect(|wire| {
        let version = wire.greet(7);
        take_request(wire, version);
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut polled = [PollFd::new(wire.requests.get_ref(), PollFlags::empty())];
        let hung_up = poll(&mut polled, Some(&Timespec::default())).unwrap() > 0;
        let dir = StoreDir::default();
        write_build_result(&success(), &dir, version, &mut wire.replies).unwrap();
        hung_up
    });
    let mut store = RemoteStore::new(connection);
    store
        .build_derivation(&path("x.drv"), &derivation(), &options())
        .unwrap();
    assert!(!server.join().unwrap());
}

#[test]
fn a_server_without_the_command_is_not_asked() {
    let (connection, server) = connect(|wire| {
        wire.greet(0);
        wire.at_end()
    });
    let mut store = RemoteStore::new(connection);
    let error = store
        .build_derivation(&path("x.drv"), &derivation(), &options())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "'fake' speaks version 2.0 of the protocol, which has no BuildDerivation"
    );
    drop(store);
    assert!(server.join().unwrap());
}

#[test]
fn a_derivation_that_cannot_be_sent_is_no_request() {
    let (connection, server) = connect(|wire| {
        wire.greet(7);
        wire.at_end()
    });
    let mut drv = derivation();
    let ca = ContentAddress {
        method: nix_base::ContentAddressMethod::Text,
        hash: Hash::of(HashAlgo::Sha1, b""),
    };
    drv.outputs.insert(
        OutputName::new("out").unwrap(),
        DerivationOutput::CaFixed(ca),
    );
    let mut store = RemoteStore::new(connection);
    let result = store.build_derivation(&path("x.drv"), &drv, &options());
    assert!(
        matches!(result, Err(ClientError::Derivation { .. })),
        "{result:?}"
    );
    drop(store);
    assert!(server.join().unwrap());
}

#[test]
fn any_status_but_zero_comes_with_its_message_and_leaves_the_connection_usable() {
    let (connection, server) = connect(|wire| {
        let version = wire.greet(7);
        for status in [1, 100, 0] {
            wire.expect(ServeCommand::BuildPaths);
            BuildPaths::read(version, &mut wire.requests).unwrap();
            let reply = BuildPathsReply {
                status,
                error_msg: "no luck".into(),
            };
            reply.write(&mut wire.replies).unwrap();
        }
    });
    let mut store = RemoteStore::new(connection);
    let request = BuildPaths {
        targets: vec!["/nix/store/x".into()],
        options: options(),
    };
    for status in [1, 100, 0] {
        let reply = store.build_paths(&request).unwrap();
        assert_eq!(reply.status, status);
        assert_eq!(reply.error_msg.is_empty(), status == 0);
    }
    server.join().unwrap();
}

#[test]
fn a_status_that_nobody_knows_is_refused() {
    let (connection, server) = connect(|wire| {
        let version = wire.greet(7);
        take_request(wire, version);
        wire.replies.write_u64(15).unwrap();
    });
    let mut store = RemoteStore::new(connection);
    let error = store
        .build_derivation(&path("x.drv"), &derivation(), &options())
        .unwrap_err();
    let ClientError::Reply { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(**source, ProtoError::UnknownStatus(15)));
    server.join().unwrap();
}
