//! A state directory, clients and requests.

use std::io::{Read, Seek};
use std::time::Instant;

use nix_base::BuildStatus;
use nix_drv::{BasicDerivation, DerivationOutput};

use super::super::*;
use crate::request::BuildMode;

/// A store's state.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) store_dir: StoreDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            store_dir: StoreDir::new("/nix/store").unwrap(),
        }
    }

    /// What a process of its own would have.
    pub(super) fn active(&self) -> Active {
        Active::new(self.dir.path(), &self.store_dir).unwrap()
    }

    pub(super) fn build_dir(&self, name: &str) -> std::path::PathBuf {
        let key = request_file::key(&self.store_dir, &request(name)).unwrap();
        self.dir.path().join("nix-serve/active").join(key)
    }

    /// Builds whose files are there.
    pub(super) fn leftovers(&self) -> usize {
        let names = std::fs::read_dir(self.dir.path().join("nix-serve/active")).unwrap();
        names
            .filter(|name| name.as_ref().unwrap().file_name() != "gate")
            .count()
    }

    /// Waits until somebody besides the owner watches.
    pub(super) fn wait_for_watcher(&self, name: &str) {
        let active = self.active();
        wait_until(|| {
            let _gate = active.inner.gate().unwrap();
            let Ok(dir) = LockDirectory::open_path(self.build_dir(name)) else {
                return false;
            };
            let watchers = dir.open("watchers").unwrap();
            !dir.try_lock(&watchers, "watchers").unwrap()
        });
    }
}

/// Gives way to others until `done` holds.
pub(super) fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(
            Instant::now() < deadline,
            "what was waited for didn't happen"
        );
        std::thread::yield_now();
    }
}

pub(super) fn wait_for_cancel(cancel: &Cancel) {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(cancel, PollFlags::IN)], None).unwrap();
}

/// A file that a log goes to.
pub(super) struct Log(File);

impl Log {
    pub(super) fn new() -> Self {
        Self(tempfile::tempfile().unwrap())
    }

    pub(super) fn target(&self) -> Arc<LogTarget> {
        Arc::new(LogTarget::new(self.0.try_clone().unwrap().into()))
    }

    pub(super) fn text(&self) -> String {
        let mut file = &self.0;
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }
}

pub(super) fn client<'a>(
    cancel: &'a Cancel,
    log: Option<Arc<LogTarget>>,
    on_wait: &'a mut dyn FnMut(usize),
) -> Client<'a> {
    Client {
        cancel,
        limits: BuildLimits::default(),
        log,
        supervisor: None,
        accept: &|_| true,
        on_wait,
    }
}

/// Asks for the derivation `name` like a client without wishes.
pub(super) fn run_as(
    active: &Active,
    log: &Log,
    name: &str,
    own: impl FnOnce(&OwnedBuild) -> BuildOutcome + Send + 'static,
) -> BuildOutcome {
    let cancel = Cancel::new().unwrap();
    let mut ignore = |_| {};
    let mut client = client(&cancel, Some(log.target()), &mut ignore);
    active.run(&mut client, &request(name), Box::new(own))
}

pub(super) fn built() -> BuildOutcome {
    BuildResult::failure(BuildStatus::Built, "").into()
}

pub(super) fn request(name: &str) -> BuildRequest {
    let path = |hash: &str, name: &str| {
        nix_base::StorePath::from_base_name(&format!("{hash:0>32}-{name}")).unwrap()
    };
    let output = DerivationOutput::InputAddressed(path("1", name));
    BuildRequest {
        drv_path: path("2", &format!("{name}.drv")),
        drv: BasicDerivation {
            name: nix_base::StorePathName::new(name).unwrap(),
            outputs: [("out".parse().unwrap(), output)].into(),
            input_srcs: [path("3", "source")].into(),
            platform: "x86_64-linux".into(),
            builder: "/bin/sh".into(),
            args: vec!["-c".into(), "echo".into()],
            env: [("a".into(), "b".into())].into(),
        },
        realisation_hash: None,
        mode: BuildMode::Normal,
        limits: BuildLimits::default(),
        keep_failed: false,
        requester: Default::default(),
    }
}
