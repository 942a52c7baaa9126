//! A machine on which ours builds, as root or as nobody in particular.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::{
    Machine, Peer, RawBuildResult, RawDrv, RawLimits, ServeSession, Workshop, run_ok, say_missing,
    without_colours,
};

use crate::site::{Builder, CONFINED, confined, ours};

/// Whom the server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    /// A user that owns the store and has no rights, in user namespaces.
    Nobody,
}

/// A machine with derivations in its store.
pub(crate) struct Place {
    pub(crate) who: Who,
    pub(crate) machine: Machine,
    pub(crate) paths: BTreeMap<String, String>,
}

/// How a build ended, with what it printed.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) result: RawBuildResult,
    pub(crate) log: String,
}

impl Place {
    /// A machine with these derivations; `None` if it can't be had, which has been said.
    /// Builders see the program `probe` in `tools`, and the directory `shared` as `/shared`.
    pub(crate) fn new(who: Who, attributes: &str) -> Option<Self> {
        Self::with_settings(who, attributes, "")
    }

    /// The same with more lines of nix.conf.
    pub(crate) fn with_settings(who: Who, attributes: &str, settings: &str) -> Option<Self> {
        let peer = crate::site::newest()?;
        let machine = confined();
        let shared = machine.path("shared");
        std::fs::create_dir(&shared).unwrap();
        set_mode(&shared, 0o777);
        // Nothing but the directories inside keeps others out.
        set_mode(&machine.path(""), 0o755);
        machine.configure(&format!(
            "{CONFINED}sandbox-paths = /shared={}\n{settings}",
            shared.display()
        ));
        let paths = instantiate(&machine, peer, attributes)?;
        if who == Who::Nobody {
            if !user_namespaces() {
                return None;
            }
            let mut chown = Command::new("chown");
            chown
                .args(["-R", "-h", "65534:65534"])
                .arg(machine.path(""));
            run_ok(chown);
        }
        Some(Self {
            who,
            machine,
            paths,
        })
    }

    /// A directory that builders see as `/shared`.
    pub(crate) fn shared(&self, name: &str) -> PathBuf {
        self.machine.path("shared").join(name)
    }

    pub(crate) fn drv(&self, name: &str) -> RawDrv {
        RawDrv::read(&self.machine.on_disk(&self.paths[name]))
    }

    /// Where the output of a derivation is, or will be.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.machine.on_disk(self.drv(name).output("out"))
    }

    /// A serving process.
    pub(crate) fn server(&self, options: &[&str]) -> Command {
        let mut command = match self.who {
            Who::Root => Builder::Ours.server(&self.machine),
            Who::Nobody => {
                let mut command = as_user(65534, 65534);
                command
                    .arg(accessible_program(&self.machine))
                    .args(["serve", "--write", "--store"])
                    .arg(format!("local?root={}", self.machine.path("").display()))
                    .env_clear()
                    .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                    .env("HOME", self.machine.path("home"))
                    .env("NIX_CONF_DIR", self.machine.path("conf"))
                    .current_dir("/");
                command
            }
        };
        command.args(options);
        command
    }

    pub(crate) fn session(&self) -> ServeSession {
        ServeSession::open(self.server(&[]), 7)
    }

    /// Has a derivation built on a connection of its own.
    pub(crate) fn build(&self, name: &str) -> Built {
        self.build_limited(name, &RawLimits::default())
    }

    pub(crate) fn build_limited(&self, name: &str, limits: &RawLimits) -> Built {
        let mut session = self.session();
        let mut result = session.build(&self.paths[name], &self.drv(name), limits);
        result.error = without_colours(&result.error);
        let ended = session.finish_ok();
        Built {
            result,
            log: without_colours(&ended.stderr),
        }
    }

    /// Has a derivation built that must succeed.
    #[track_caller]
    pub(crate) fn build_ok(&self, name: &str) -> Built {
        let built = self.build(name);
        assert_eq!(built.result.status, 0, "{:?}: {built:?}", self.who);
        built
    }

    /// Asks whether a path is valid, on a connection of its own.
    pub(crate) fn is_valid(&self, path: &str) -> bool {
        let mut session = self.session();
        let valid = session.query_valid_paths(false, false, [path]);
        session.finish_ok();
        !valid.is_empty()
    }

    /// Names in the store directory that are no objects: what builds leave there.
    pub(crate) fn oddities(&self) -> Vec<String> {
        let names = self.machine.names().into_iter();
        names
            .filter(|name| {
                let has_hash = name.len() > 33 && name.as_bytes()[32] == b'-';
                !has_hash && name != ".links"
            })
            .collect()
    }

    /// What is in the directory of build directories.
    pub(crate) fn build_dirs(&self) -> Vec<PathBuf> {
        let builds = self.machine.path("nix/var/nix/builds");
        let Ok(entries) = std::fs::read_dir(builds) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Built {
    /// The error number that an attempt of the probe ended with, 0 if it went through.
    #[track_caller]
    pub(crate) fn attempt(&self, name: &str) -> i32 {
        let lines = self.log.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter(|(word, _)| *word == name)
            .find_map(|(_, number)| number.trim().parse().ok())
            .unwrap_or_else(|| panic!("no attempt '{name}': {self:?}"))
    }
}

/// A command that runs the arguments to be added as another user.
pub(crate) fn as_user(user: u32, group: u32) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user.to_string(), "--regid", &group.to_string()])
        .arg("--clear-groups");
    command
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Our program where anybody may run it.
fn accessible_program(machine: &Machine) -> PathBuf {
    let mut test = as_user(65534, 65534);
    test.args(["test", "-x"]).arg(ours());
    if test.status().is_ok_and(|status| status.success()) {
        return ours().to_owned();
    }
    let copy = machine.path("nix-serve");
    if copy.symlink_metadata().is_err() {
        std::fs::copy(ours(), &copy).unwrap();
        set_mode(&copy, 0o755);
    }
    copy
}

/// Whether a user without rights can have a namespace.
fn user_namespaces() -> bool {
    let mut unshare = as_user(65534, 65534);
    unshare.args(["unshare", "--user", "--map-root-user", "--mount", "true"]);
    let works = unshare.output().is_ok_and(|output| output.status.success());
    if !works {
        say_missing(
            "NO USER NAMESPACES WITHOUT PRIVILEGE, THEIR TESTS DO NOTHING",
            false,
        );
    }
    works
}

fn instantiate(
    machine: &Machine,
    peer: &Peer,
    attributes: &str,
) -> Option<BTreeMap<String, String>> {
    let workshop = Workshop::new(machine, peer);
    workshop.add_file("tools/probe", &probe(machine)?);
    Some(workshop.instantiate(attributes))
}

/// The probe as a static program; `None` if there is no compiler, which has been said.
fn probe(machine: &Machine) -> Option<Vec<u8>> {
    let source = machine.path("home/probe.c");
    std::fs::write(&source, include_str!("probe.c")).unwrap();
    let program = machine.path("home/probe");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-static", "-O1", "-o"])
        .arg(&program)
        .arg(&source);
    match compiler.output() {
        Ok(output) if output.status.success() => Some(std::fs::read(program).unwrap()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            say_missing(
                &format!("NO STATIC C PROGRAMS, ESCAPES ARE NOT TRIED: {said}"),
                true,
            );
            None
        }
        Err(error) => {
            say_missing(
                &format!("NO C COMPILER, ESCAPES ARE NOT TRIED: {error}"),
                true,
            );
            None
        }
    }
}
