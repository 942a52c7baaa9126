//! Directories, ids and a helper to run builders with.

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix_build::config::{HelperProgram, SandboxConfig, SandboxPath};
use nix_build::helper::{Event, ExitStatus, Helper, RunningBuild};
use nix_build::sandbox::plan::{
    Confinement, Identity, Network, NetworkFiles, OsBytes, Program, Rlimits, SandboxInput, plan,
};
use tempfile::TempDir;

/// Where busybox is, as builders see it.
pub(crate) const SHELL: &str = "/nix/store/8mkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-busybox/busybox";

/// All that one build needs.
pub(crate) struct World {
    pub(crate) temp: TempDir,
    pub(crate) config: SandboxConfig,
    pub(crate) confinement: Confinement,
    pub(crate) network: Network,
    pub(crate) identity: Identity,
    pub(crate) inputs: Vec<(PathBuf, PathBuf)>,
    pub(crate) paths: Vec<SandboxPath>,
    pub(crate) network_files: NetworkFiles,
    pub(crate) kvm: bool,
    pub(crate) personality_32: bool,
    pub(crate) own_cgroup: bool,
    pub(crate) rlimits: Rlimits,
}

/// What became of a build.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<Event>,
    pub(crate) log: String,
}

impl World {
    /// One input with busybox, one that is a file, and one that is a link.
    pub(crate) fn new() -> Self {
        let temp = TempDir::new().expect("a directory");
        let dir = temp.path();
        let identity = match is_root() {
            true => {
                let uid = unused_uid(1);
                Identity {
                    uid,
                    gid: uid,
                    count: 1,
                    groups: Vec::new(),
                }
            }
            false => Identity {
                uid: rustix::process::getuid().as_raw(),
                gid: rustix::process::getgid().as_raw(),
                count: 1,
                groups: Vec::new(),
            },
        };
        let inputs = make_inputs(dir);
        let world = Self {
            config: SandboxConfig::default(),
            confinement: Confinement::Full,
            network: Network::Isolated,
            identity,
            inputs,
            paths: Vec::new(),
            network_files: NetworkFiles::default(),
            kvm: false,
            personality_32: false,
            own_cgroup: false,
            rlimits: Rlimits::default(),
            temp,
        };
        world.make_directories();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The three directories of a build, new and with the right owners.
    pub(crate) fn make_directories(&self) {
        let Identity { uid, gid, .. } = self.identity;
        for (name, mode, owner) in [
            ("store", 0o1775, (None, Some(gid))),
            ("build", 0o700, (Some(uid), Some(gid))),
            ("tmp", 0o1777, (None, None)),
        ] {
            let path = self.path(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).expect("a directory");
            if is_root() {
                chown(&path, owner.0, owner.1).expect("an owner");
            }
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("permissions");
        }
    }

    /// A program that runs a script.
    pub(crate) fn script(&self, script: &str) -> Program {
        self.program(&["sh", "-c", script])
    }

    pub(crate) fn program(&self, args: &[&str]) -> Program {
        let shell = match self.confinement {
            Confinement::Full => OsBytes::from(SHELL),
            Confinement::None => self.path("busybox/busybox").into(),
        };
        Program::Exec {
            path: shell,
            args: args.iter().map(|arg| OsBytes::from(*arg)).collect(),
            env: vec![("A".into(), "b c".into())],
        }
    }

    pub(crate) fn start(&self, helper: &Helper, program: Program, log: OwnedFd) -> RunningBuild {
        let plan = plan(&self.input(program)).expect("a plan");
        helper.start(&plan, log).expect("a helper")
    }

    pub(crate) fn input(&self, program: Program) -> SandboxInput<'_> {
        SandboxInput {
            config: &self.config,
            confinement: self.confinement,
            network: self.network,
            identity: self.identity.clone(),
            is_root: is_root(),
            store_dir: Path::new("/nix/store"),
            host_store: Box::leak(self.path("store").into_boxed_path()),
            host_build: Box::leak(self.path("build").into_boxed_path()),
            host_tmp: Box::leak(self.path("tmp").into_boxed_path()),
            inputs: &self.inputs,
            paths: &self.paths,
            network_files: self.network_files.clone(),
            kvm: self.kvm,
            personality_32: self.personality_32,
            own_cgroup: self.own_cgroup,
            rlimits: self.rlimits,
            program,
        }
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, helper: &Helper, program: Program) -> Outcome {
        let mut log = tempfile::tempfile().expect("a file");
        let copy = log.try_clone().expect("a descriptor");
        let mut build = self.start(helper, program, copy.into());
        let mut events = Vec::new();
        loop {
            let event = build.read_event();
            if event == Event::Waiting {
                assert!(build.pid().is_some());
                build.go().expect("a helper");
            }
            let is_last = !matches!(event, Event::Waiting | Event::Started);
            events.push(event);
            if is_last {
                break;
            }
        }
        let mut bytes = Vec::new();
        log.rewind().expect("the beginning");
        log.read_to_end(&mut bytes).expect("the log");
        Outcome {
            events,
            log: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Runs a script that must succeed, and gives its output.
    pub(crate) fn output(&self, script: &str) -> String {
        let outcome = self.run(&helper(), self.script(script));
        assert_eq!(
            outcome.events,
            [
                Event::Waiting,
                Event::Started,
                Event::Exited(ExitStatus::Code(0))
            ],
            "{}",
            outcome.log
        );
        outcome.log
    }
}

fn make_inputs(dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let busybox = busybox();
    let names = [
        ("busybox", "8mkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-busybox"),
        ("file", "9mkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-file"),
        ("link", "amkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-link"),
    ];
    fs::create_dir(dir.join("busybox")).expect("a directory");
    fs::copy(busybox, dir.join("busybox/busybox")).expect("busybox");
    let executable = Permissions::from_mode(0o555);
    fs::set_permissions(dir.join("busybox/busybox"), executable).expect("permissions");
    fs::write(dir.join("file"), "contents").expect("a file");
    std::os::unix::fs::symlink("/etc/shadow", dir.join("link")).expect("a link");
    // Tests without a sandbox run busybox where it lies.
    fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("permissions");
    names
        .map(|(name, path)| (dir.join(name), Path::new("/nix/store").join(path)))
        .into()
}

pub(crate) fn helper() -> Helper {
    Helper::spawn(&HelperProgram {
        program: PathBuf::from(env!("CARGO_BIN_EXE_nix-build-helper")),
    })
    .expect("a helper")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// User ids that no other test has.
pub(crate) fn unused_uid(count: u32) -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let process = std::process::id() % 1000;
    1_200_000_000 + process * 300_000 + NEXT.fetch_add(count, Ordering::Relaxed)
}

/// Runs `test` as a user without privileges; as root, in another process.
pub(crate) fn unprivileged(name: &str, test: impl FnOnce()) {
    if !is_root() {
        test();
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let public = TempDir::new_in("/tmp").expect("a directory");
    fs::set_permissions(public.path(), Permissions::from_mode(0o755)).expect("permissions");
    fs::copy(busybox(), public.path().join("busybox")).expect("busybox");
    let output = Command::new(program)
        .args(["--exact", name, "--nocapture"])
        .env("TMPDIR", "/tmp")
        .env(BUSYBOX, public.path().join("busybox"))
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .output();
    match output {
        Ok(output) => assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => skip(&format!(
            "this program can't be run by other users: {error}"
        )),
    }
}

/// Says why a test does nothing; where everything should be there, that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(!test_support::is_ci(), "skipped in CI: {why}");
    test_support::say(&format!("SKIPPED: {why}"));
}

/// A static busybox, in a place that this user can read.
fn busybox() -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "from the process for another user"
    )]
    let given = std::env::var_os(BUSYBOX);
    given
        .map(PathBuf::from)
        .or_else(test_support::busybox)
        .expect("a static busybox beside the peers")
}

const BUSYBOX: &str = "NIX_BUILD_TEST_BUSYBOX";

/// A pipe as a log: its reading end, and the other one.
pub(crate) fn pipe() -> (File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    (read.into(), write)
}
