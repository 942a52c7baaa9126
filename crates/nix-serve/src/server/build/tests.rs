use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{PipeReader, PipeWriter, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use nix_base::{DrvOutput, OutputName, Realisation, StoreDir, WireWrite};
use nix_drv::DerivationOutput;
use nix_store_core::{Durability, StoreConfig, StoreLayout};

use super::*;
use crate::proto::build_result::read_build_result;
use crate::proto::handshake::write_client_hello;
use crate::proto::options::write_build_options;
use crate::proto::{Capabilities, ServeVersion, VersionWord};
use crate::server::{ServeOptions, serve};

fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("{}-{name}", "1".repeat(32))).unwrap()
}

fn derivation() -> BasicDerivation {
    let output = DerivationOutput::InputAddressed(path("x"));
    BasicDerivation {
        name: "x".parse().unwrap(),
        outputs: BTreeMap::from([(OutputName::new("out").unwrap(), output)]),
        input_srcs: [path("source")].into(),
        platform: "x86_64-linux".into(),
        builder: "/bin/sh".into(),
        args: Vec::new(),
        env: BTreeMap::new(),
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

/// Gives the results that it holds, and remembers what was asked.
struct Fake {
    result: BuildResult,
    reply: BuildPathsReply,
    asked: RefCell<Vec<String>>,
}

impl Fake {
    fn giving(result: BuildResult) -> Self {
        Self {
            result,
            reply: BuildPathsReply::default(),
            asked: RefCell::default(),
        }
    }
}

impl BuildService for Fake {
    fn build_derivation(
        &self,
        store: &LocalStore,
        request: DerivationRequest,
        _: &Cancel,
    ) -> BuildResult {
        assert_eq!(request.drv, derivation());
        let options = request.options;
        self.asked.borrow_mut().push(format!(
            "{} {}",
            store.store_dir().print(&request.drv_path),
            options.max_log_size
        ));
        self.result.clone()
    }

    fn build_paths(&self, store: &LocalStore, request: PathsRequest, _: &Cancel) -> PathsOutcome {
        let targets = request.targets.iter();
        let targets = targets.map(|target| target.print(store.store_dir()));
        self.asked.borrow_mut().extend(targets);
        self.reply.clone().into()
    }
}

/// Says when it was called, and waits until it is cancelled.
struct Endless(Sender<()>);

impl Endless {
    fn wait(&self, cancel: &Cancel) {
        use rustix::event::{PollFd, PollFlags, poll};
        self.0.send(()).unwrap();
        poll(&mut [PollFd::new(cancel, PollFlags::IN)], None).unwrap();
    }
}

impl BuildService for Endless {
    fn build_derivation(
        &self,
        _: &LocalStore,
        _: DerivationRequest,
        cancel: &Cancel,
    ) -> BuildResult {
        self.wait(cancel);
        success()
    }

    fn build_paths(&self, _: &LocalStore, _: PathsRequest, cancel: &Cancel) -> PathsOutcome {
        self.wait(cancel);
        PathsOutcome {
            seconds: 10,
            ..PathsOutcome::default()
        }
    }
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

fn build_derivation(minor: u8, options: BuildOptions) -> Vec<u8> {
    let dir = StoreDir::default();
    let mut out = Vec::new();
    out.write_u64(ServeCommand::BuildDerivation.number())
        .unwrap();
    out.write_path(&dir, &path("x.drv")).unwrap();
    derivation().write_wire(&mut out, &dir).unwrap();
    write_build_options(&options, ServeVersion::v2(minor), &mut out).unwrap();
    out
}

fn build_paths(targets: &[&str]) -> Vec<u8> {
    let request = BuildPaths {
        targets: targets.iter().map(|&target| target.to_owned()).collect(),
        options: BuildOptions::default(),
    };
    let mut out = Vec::new();
    out.write_u64(ServeCommand::BuildPaths.number()).unwrap();
    request.write(ServeVersion::v2(8), &mut out).unwrap();
    out
}

fn open(temp: &tempfile::TempDir) -> Result<LocalStore, ServeError> {
    let layout = StoreLayout::chroot(StoreDir::default(), temp.path());
    let mut config = StoreConfig::new(layout);
    config.durability = Durability::None;
    Ok(LocalStore::init(config)?)
}

fn writable() -> ServeOptions {
    ServeOptions {
        role: crate::policy::Role::full(),
        ..ServeOptions::default()
    }
}

/// The replies to a request after a greeting of version 2.`minor`.
fn talk(minor: u8, request: &[u8], builds: &dyn BuildService) -> (Vec<u8>, Result<(), ServeError>) {
    let temp = tempfile::tempdir().unwrap();
    let input = [hello(minor), request.to_vec()].concat();
    let mut output = Vec::new();
    let result = serve(&writable(), || open(&temp), builds, &input[..], &mut output);
    (output.split_off(16), result)
}

#[test]
fn each_version_gets_the_fields_that_it_has_twice_on_one_connection() {
    for minor in 1..=8 {
        let fake = Fake::giving(success());
        let options = BuildOptions {
            max_log_size: 7,
            keep_failed: true,
            ..BuildOptions::default()
        };
        let request = build_derivation(minor, options);
        let (replies, result) = talk(minor, &[request.clone(), request].concat(), &fake);
        result.unwrap();
        let mut replies = &replies[..];
        for _ in 0..2 {
            let version = ServeVersion::v2(minor);
            let reply = read_build_result(&StoreDir::default(), version, &mut replies).unwrap();
            assert_eq!(reply.status, BuildStatus::Built);
            assert_eq!(reply.start_time, if minor >= 3 { 10 } else { 0 });
            assert_eq!(reply.built_outputs.len(), usize::from(minor >= 6));
        }
        assert!(replies.is_empty(), "2.{minor}");
        let size = if minor >= 2 { 7 } else { 0 };
        let asked = format!("/nix/store/{}-x.drv {size}", "1".repeat(32));
        assert_eq!(*fake.asked.borrow(), [asked.clone(), asked]);
    }
}

#[test]
fn a_failed_build_is_a_reply_and_the_connection_goes_on() {
    let failure = BuildResult::failure(BuildStatus::PermanentFailure, "no luck");
    let fake = Fake {
        reply: BuildPathsReply {
            status: 100,
            error_msg: "no luck".into(),
        },
        ..Fake::giving(failure.clone())
    };
    let drv = format!("/nix/store/{}-x.drv", "1".repeat(32));
    let request = [
        build_derivation(8, BuildOptions::default()),
        build_paths(&[&drv, &format!("{drv}!out,dev")]),
        build_derivation(8, BuildOptions::default()),
    ];
    let (replies, result) = talk(8, &request.concat(), &fake);
    result.unwrap();
    let mut replies = &replies[..];
    let (dir, version) = (StoreDir::default(), ServeVersion::v2(8));
    assert_eq!(
        read_build_result(&dir, version, &mut replies).unwrap(),
        failure
    );
    assert_eq!(BuildPathsReply::read(&mut replies).unwrap(), fake.reply);
    assert_eq!(
        read_build_result(&dir, version, &mut replies).unwrap(),
        failure
    );
    assert!(replies.is_empty());
    assert_eq!(
        fake.asked.borrow()[1..3],
        [drv.clone(), format!("{drv}!dev,out")]
    );
}

#[test]
fn what_is_built_and_what_it_needs_is_pinned() {
    struct Pinned;
    impl BuildService for Pinned {
        fn build_derivation(
            &self,
            store: &LocalStore,
            _: DerivationRequest,
            _: &Cancel,
        ) -> BuildResult {
            let dir = store.layout().temp_roots_dir();
            let files = std::fs::read_dir(dir).unwrap();
            let roots: Vec<u8> = files
                .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
                .collect();
            let text = String::from_utf8_lossy(&roots).into_owned();
            for name in ["x.drv", "x", "source"] {
                assert!(
                    text.contains(&format!("{}-{name}\0", "1".repeat(32))),
                    "{text:?}"
                );
            }
            success()
        }
        fn build_paths(&self, _: &LocalStore, _: PathsRequest, _: &Cancel) -> PathsOutcome {
            PathsOutcome::default()
        }
    }
    let request = build_derivation(8, BuildOptions::default());
    talk(8, &request, &Pinned).1.unwrap();
}

#[test]
fn repeats_and_malformed_requests_end_the_connection_without_a_build() {
    let repeats = BuildOptions {
        nr_repeats: 1,
        ..BuildOptions::default()
    };
    let mut no_drv = Vec::new();
    no_drv.write_u64(8).unwrap();
    no_drv.write_path(&StoreDir::default(), &path("x")).unwrap();
    let whole = build_derivation(8, BuildOptions::default());
    let requests = [
        (
            build_derivation(8, repeats),
            "client requested repeating builds, but this is not currently implemented",
        ),
        (no_drv, "cannot read derivation"),
        (whole[..whole.len() - 60].to_vec(), "cannot read derivation"),
        (
            whole[..whole.len() - 8].to_vec(),
            "cannot read the arguments",
        ),
        (
            build_paths(&["/etc/passwd"]),
            "cannot read what is to be built",
        ),
        (
            build_paths(&[&format!("/nix/store/{}-x!out", "1".repeat(32))]),
            "cannot read what is to be built",
        ),
    ];
    for (request, text) in requests {
        let fake = Fake::giving(success());
        let (replies, result) = talk(8, &request, &fake);
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
        assert!(replies.is_empty() && fake.asked.borrow().is_empty());
    }
}

#[test]
fn repeats_are_no_field_of_old_clients() {
    let repeats = BuildOptions {
        nr_repeats: 1,
        ..BuildOptions::default()
    };
    let request = build_derivation(2, repeats);
    talk(2, &request, &Fake::giving(success())).1.unwrap();
}

/// A connection to a build without end, which has begun.
fn endless<T>(
    request: &[u8],
    options: &ServeOptions,
    act: impl FnOnce(PipeWriter) -> T,
) -> (Vec<u8>, Result<(), ServeError>) {
    endless_in(&tempfile::tempdir().unwrap(), request, options, act)
}

fn endless_in<T>(
    temp: &tempfile::TempDir,
    request: &[u8],
    options: &ServeOptions,
    act: impl FnOnce(PipeWriter) -> T,
) -> (Vec<u8>, Result<(), ServeError>) {
    let (reader, mut to_server): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
    to_server.write_all(&hello(7)).unwrap();
    to_server.write_all(request).unwrap();
    let (begun, begins) = channel();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut output = Vec::new();
            let builds = Endless(begun);
            let result = serve(options, || open(temp), &builds, reader, &mut output);
            (output.split_off(16), result)
        });
        begins.recv().unwrap();
        let kept = act(to_server);
        let ended = server.join().unwrap();
        drop(kept);
        ended
    })
}

#[test]
fn a_hang_up_cancels_the_build_and_nothing_is_answered() {
    let requests = [
        build_derivation(7, BuildOptions::default()),
        build_paths(&[&format!("/nix/store/{}-x.drv", "1".repeat(32))]),
    ];
    for request in requests {
        let (replies, result) = endless(&request, &writable(), drop);
        assert!(matches!(result, Err(ServeError::Interrupted)), "{result:?}");
        assert!(replies.is_empty());
    }
}

#[test]
fn a_hang_up_is_no_way_around_the_quota() {
    let requests = [
        build_derivation(7, BuildOptions::default()),
        build_paths(&[&format!("/nix/store/{}-x.drv", "1".repeat(32))]),
    ];
    for request in requests {
        let temp = tempfile::tempdir().unwrap();
        let mut role = crate::policy::Role::full();
        role.key = Some("a".to_owned());
        // The builds say that they took ten.
        role.quotas.build_seconds = Some(11);
        let options = ServeOptions {
            role,
            ..ServeOptions::default()
        };
        endless_in(&temp, &request, &options, drop).1.unwrap_err();
        let mut output = Vec::new();
        let input = [hello(8), build_derivation(8, BuildOptions::default())].concat();
        let fake = Fake::giving(success());
        serve(&options, || open(&temp), &fake, &input[..], &mut output).unwrap();
        assert!(fake.asked.borrow().is_empty());
        let mut replies = &output[16..];
        let result = read_build_result(&StoreDir::default(), ServeVersion::v2(8), &mut replies);
        assert_eq!(result.unwrap().status, BuildStatus::InputRejected);
    }
}

#[test]
fn a_hang_up_is_seen_behind_bytes_that_nobody_reads() {
    let request = build_derivation(7, BuildOptions::default());
    let (_, result) = endless(&request, &writable(), |mut to_server| {
        to_server.write_all(&[0; 100]).unwrap();
    });
    assert!(matches!(result, Err(ServeError::Interrupted)), "{result:?}");
}

#[test]
fn a_signal_cancels_the_build() {
    let stop = Arc::new(AtomicBool::new(false));
    let options = ServeOptions {
        stop: Arc::clone(&stop),
        ..writable()
    };
    let request = build_derivation(7, BuildOptions::default());
    let (replies, result) = endless(&request, &options, |to_server| {
        stop.store(true, Ordering::Relaxed);
        to_server
    });
    assert!(matches!(result, Err(ServeError::Interrupted)), "{result:?}");
    assert!(replies.is_empty());
}
