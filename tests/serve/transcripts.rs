//! Every version from 2.0 to 2.8, also those that no release announces, byte by byte.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;

use nix_base::{
    BuildOptions, BuildResult, BuildStatus, NarHash, OutputName, Realisation, Signature, StoreDir,
    StorePath, UnkeyedRealisation, UnkeyedValidPathInfo, ValidPathInfo,
};
use nix_serve::client::{
    ClientConnection, CopyFromOptions, CopyFromPlan, CopyToPlan, NoProgress, Substitute, Transport,
};
use nix_serve::proto::ServeVersion;
use nix_serve::proto::build_result::{read_build_result, write_build_result};
use nix_serve::proto::options::{read_build_options, write_build_options};
use nix_serve::proto::realisation::with_stand_in;
use test_support::{Message, Peer, ServeSession, TempStore, say};

use crate::objects::Objects;
use crate::script::{Section, Side, sections, stream};

const SERVER: &str = include_str!("transcripts/server.txt");
const CLIENT: &str = include_str!("transcripts/client.txt");
const BUILD: &str = include_str!("transcripts/build.txt");

/// The version words of this program, and of a release by its minor version.
const OURS: u64 = 0x1_0208;
const fn word(minor: u8) -> u64 {
    0x200 + minor as u64
}

fn serve(mut command: Command, script: &[Section], who: &str) {
    command.args(["--serve", "--write"]);
    let mut session = ServeSession::spawn(command);
    for section in script {
        for (side, bytes) in &section.turns {
            match side {
                Side::Client => session.send_bytes(bytes),
                Side::Server => {
                    let got = session.read_exact(bytes.len());
                    assert_eq!(
                        &got,
                        bytes,
                        "{who}: {}\n{}",
                        section.title,
                        session.transcript()
                    );
                }
            }
        }
    }
    session.finish_ok();
}

#[test]
fn our_server_answers_every_version_to_the_byte() {
    for minor in 0..=8 {
        let store = TempStore::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nix-serve"));
        command.args(["--store", &store.address()]);
        let script = sections(SERVER, minor, word(minor), OURS);
        serve(command, &script, &format!("2.{minor}"));
    }
}

#[test]
fn real_servers_answer_the_same() {
    for peer in Peer::all() {
        let own = if peer.is_at_least(2, 4) { 7 } else { 5 };
        if peer.is_at_least(2, 35) {
            say(&format!(
                "Nix {} may answer otherwise, not compared",
                peer.version()
            ));
            continue;
        }
        for minor in 0..=8 {
            let store = TempStore::new();
            let mut command = peer.command("nix-store");
            command.args(["--store", &store.address()]);
            // Beyond its own version a server does what it knows.
            let mut script = sections(SERVER, minor.min(own), word(minor), word(own));
            if peer.is_at_least(2, 32) {
                script.retain(|section| !section.title.starts_with("ExportPaths"));
            }
            serve(
                command,
                &script,
                &format!("Nix {} to 2.{minor}", peer.version()),
            );
        }
    }
}

/// Plays the server of a script on two pipes; gives the first section that differs.
fn play(mut requests: File, mut replies: File, script: Vec<Section>) -> Result<(), String> {
    for section in script {
        for (side, bytes) in section.turns {
            if side == Side::Server {
                replies.write_all(&bytes).map_err(|e| e.to_string())?;
                continue;
            }
            let mut got = vec![0; bytes.len()];
            requests.read_exact(&mut got).map_err(|e| e.to_string())?;
            if got != bytes {
                return Err(format!("{}: {got:?} instead of {bytes:?}", section.title));
            }
        }
    }
    match requests.read(&mut [0]) {
        Ok(0) => Ok(()),
        other => Err(format!("more than the script has: {other:?}")),
    }
}

fn path(base: &str) -> StorePath {
    StorePath::from_base_name(base).unwrap()
}

fn signature() -> Signature {
    Signature::from_parts("k", &[0; 64])
}

/// The two objects of the scripts.
fn two_objects() -> Objects {
    let mut objects = Objects::default();
    let first = path("00000000000000000000000000000001-first");
    let second = path("00000000000000000000000000000002-second");
    let nar = test_support::nar::regular(b"first");
    let info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
    objects.insert(
        ValidPathInfo {
            path: first.clone(),
            info,
        },
        nar,
    );

    let nar = test_support::nar::regular(b"the second one");
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
    info.references = [first, second.clone()].into();
    info.deriver = Some(path("00000000000000000000000000000003-second.drv"));
    info.registration_time = 1_700_000_000;
    info.sigs.insert(signature());
    objects.insert(ValidPathInfo { path: second, info }, nar);
    objects
}

#[test]
fn our_client_speaks_every_version_to_the_byte() {
    for minor in 0..=8 {
        let (requests, to_server) = std::io::pipe().unwrap();
        let (from_server, replies) = std::io::pipe().unwrap();
        let script = sections(CLIENT, minor, OURS, word(minor));
        let player = std::thread::spawn(move || {
            let (requests, replies) = (OwnedFd::from(requests), OwnedFd::from(replies));
            play(requests.into(), replies.into(), script)
        });
        let transport = Transport::from_descriptors(to_server.into(), from_server.into(), "script");
        let mut connection = ClientConnection::new(transport, StoreDir::default());
        let session = copy_there_and_back(&mut connection, ServeVersion::v2(minor));
        connection.finish();
        assert_eq!(player.join().unwrap(), Ok(()), "2.{minor}");
        session.unwrap();
    }
}

fn copy_there_and_back(
    connection: &mut ClientConnection,
    version: ServeVersion,
) -> Result<(), nix_serve::client::ClientError> {
    let mut objects = two_objects();
    let plan = CopyToPlan::make(connection, objects.infos(), Substitute::No)?;
    plan.send(connection, &mut objects, &NoProgress)?;
    assert_eq!(connection.version(), Some(version));

    let wanted = [path("00000000000000000000000000000002-second")].into();
    let mut received = Objects::default();
    let options = CopyFromOptions::default();
    let plan = CopyFromPlan::make(connection, &wanted, &options, &mut received)?;
    plan.fetch(connection, &mut received, &NoProgress)?;
    objects.forget_what_replies_lack(version);
    assert_eq!(received, objects);
    Ok(())
}

#[test]
fn build_options_and_results_of_every_version() {
    let dir = StoreDir::default();
    for minor in 0..=8 {
        let version = ServeVersion::v2(minor);
        let script = sections(BUILD, minor, 0, 0);
        let options = options(version);
        let bytes = stream(&script, Side::Client);
        let read = read_build_options(version, &mut bytes.as_slice()).unwrap();
        assert_eq!(read, options, "2.{minor}");
        let mut written = Vec::new();
        write_build_options(&options, version, &mut written).unwrap();
        assert_eq!(written, bytes, "2.{minor}");

        let results = results(version);
        let bytes = stream(&script, Side::Server);
        let mut rest = bytes.as_slice();
        let read = |rest: &mut &[u8]| read_build_result(&dir, version, rest).unwrap();
        assert_eq!([read(&mut rest), read(&mut rest)], results, "2.{minor}");
        let mut written = Vec::new();
        for result in &results {
            write_build_result(result, &dir, version, &mut written).unwrap();
        }
        assert_eq!(written, bytes, "2.{minor}");
    }
}

fn options(version: ServeVersion) -> BuildOptions {
    BuildOptions {
        max_silent_time: 3600,
        build_timeout: 7200,
        max_log_size: if version.has_max_log_size() {
            1 << 32
        } else {
            0
        },
        nr_repeats: 0,
        enforce_determinism: version.has_repeats(),
        keep_failed: version.has_keep_failed(),
    }
}

fn results(version: ServeVersion) -> [BuildResult; 2] {
    let mut good = BuildResult::failure(BuildStatus::Built, "");
    let mut bad = BuildResult::failure(
        BuildStatus::PermanentFailure,
        "builder failed with exit code 3",
    );
    if version.has_build_times() {
        for (result, stop) in [(&mut good, 60), (&mut bad, 1)] {
            result.times_built = 1;
            result.start_time = 1_700_000_000;
            result.stop_time = 1_700_000_000 + stop;
        }
    }
    if version.has_built_outputs() {
        let name = OutputName::new("out").unwrap();
        let unkeyed = UnkeyedRealisation {
            out_path: path("00000000000000000000000000000001-first"),
            signatures: [signature()].into(),
        };
        let mut realisation = with_stand_in(name.clone(), unkeyed);
        if !version.has_realisations_by_name() {
            let id = "sha256:15e3c560894cbb27085cf65b5a2ecb18488c999497f4531b6907a7581ce6d527!out";
            realisation = Realisation {
                id: id.parse().unwrap(),
                ..realisation
            };
        }
        good.built_outputs.insert(name, realisation);
    }
    [good, bad]
}

#[test]
fn refusals_before_and_inside_of_arguments() {
    // What the client sends after the greeting, and what the server must say on stderr.
    let absent = "/nix/store/0000000000000000000000000000000d-absent";
    let cases: [(&str, Message, &str); 5] = [
        (
            "unknown command",
            Message::new().u64(77),
            "unknown serve command 77",
        ),
        (
            "absent path",
            Message::dump_store_path(absent),
            "is not valid",
        ),
        (
            "foreign path",
            Message::dump_store_path("/etc/passwd"),
            "is not in the Nix store",
        ),
        (
            "cut arguments",
            Message::new().u64(3).u64(50),
            "unexpected end-of-file",
        ),
        (
            "set without end",
            Message::new().u64(2).u64(u64::MAX),
            "too many",
        ),
    ];
    for (what, request, reason) in cases {
        let store = TempStore::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nix-serve"));
        command.args(["--store", &store.address(), "--serve", "--write"]);
        let mut session = ServeSession::open(command, 7);
        session.send(&request);
        session.close_input();
        let ended = session.finish();
        assert_eq!(ended.status.code(), Some(1), "{what}");
        assert!(ended.stderr.contains(reason), "{what}: {}", ended.stderr);
    }
}
