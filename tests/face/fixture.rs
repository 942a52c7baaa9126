//! The store that is compared on: made once by a real Nix, copied for everyone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::StatVfsMountFlags;
use test_support::{Machine, Peer, busybox, run_ok};

/// A machine with a filled store, and what its paths are called in cases.
pub(crate) struct Fixture {
    pub(crate) machine: Machine,
    paths: BTreeMap<String, String>,
}

impl Fixture {
    /// A store made by `peer`.
    pub(crate) fn new(peer: &Peer) -> Self {
        let machine = Machine::new_in(&fast_directory());
        for place in ["nix/scratch", "nix/home"] {
            fs::create_dir_all(machine.path(place)).unwrap();
        }
        fs::write(machine.path("nix/scratch/fixture.nix"), EXPRESSION).unwrap();
        machine.configure(CONFINED);
        let tools = machine.path("nix/scratch/tools");
        fs::create_dir(&tools).unwrap();
        let program = busybox().expect("a static busybox lies beside the peers");
        fs::copy(program, tools.join("busybox")).unwrap();
        for name in ["sh", "mkdir", "ln", "chmod", "cp", "cat"] {
            std::os::unix::fs::symlink("busybox", tools.join(name)).unwrap();
        }
        let mut fixture = Self {
            machine,
            paths: BTreeMap::new(),
        };
        fixture.instantiate(peer);
        fixture.build(peer);
        fixture.add_sources(peer);
        fixture.root();
        fixture
    }

    fn instantiate(&mut self, peer: &Peer) {
        let listed = "with import ./fixture.nix; map (name: (import ./fixture.nix).${name}) \
                      (builtins.filter (name: name != \"source\") \
                      (builtins.attrNames (import ./fixture.nix)))";
        let names = "builtins.concatStringsSep \" \" (builtins.filter (name: name != \"source\") \
                     (builtins.attrNames (import ./fixture.nix)))";
        let text = run_ok(self.real(peer, "nix-instantiate", ["--eval", "--expr", names]));
        let names = text[0].trim_matches('"').split(' ').map(str::to_owned);
        let drvs = run_ok(self.real(peer, "nix-instantiate", ["--expr", listed]));
        for (name, drv) in names.zip(drvs) {
            let drv = drv.split('!').next().unwrap().to_owned();
            let query = ["-q", "--binding", "outputs", &drv];
            let outputs = match test_support::run(self.real(peer, "nix-store", query)) {
                output if output.status.success() => String::from_utf8(output.stdout).unwrap(),
                _ => "out".to_owned(),
            };
            for output in outputs.split_whitespace() {
                let query = ["-q", "--binding", output, &drv];
                let found = test_support::run(self.real(peer, "nix-store", query));
                let path = String::from_utf8(found.stdout).unwrap().trim().to_owned();
                let name = match output {
                    "out" => name.clone(),
                    output => format!("{name}.{output}"),
                };
                self.paths.insert(name, path);
            }
            self.paths.insert(format!("{name}.drv"), drv);
        }
    }

    fn build(&self, peer: &Peer) {
        let drvs = BUILT.map(|name| self.path(&format!("{name}.drv")));
        run_ok(self.real(peer, "nix-store", ["-r"].into_iter().chain(drvs)));
        let link = ["-r", "--add-root", "/nix/scratch/result", "--indirect"];
        run_ok(self.real(
            peer,
            "nix-store",
            link.into_iter().chain([self.path("app.drv")]),
        ));
        let failing = [self.path("failing.drv")];
        let words = ["-r"].into_iter().chain(failing);
        assert!(
            !test_support::run(self.real(peer, "nix-store", words))
                .status
                .success()
        );
    }

    fn add_sources(&mut self, peer: &Peer) {
        let scratch = self.machine.path("nix/scratch");
        fs::create_dir(scratch.join("files")).unwrap();
        fs::write(scratch.join("files/plain"), "plain\n").unwrap();
        fs::write(scratch.join("file with blanks"), "odd name\n").unwrap();
        fs::write(scratch.join("added"), "added\n").unwrap();
        std::os::unix::fs::symlink("plain", scratch.join("files/link")).unwrap();
        let paths = run_ok(self.real(peer, "nix-store", ["--add", "added", "files"]));
        for (name, path) in ["added", "files"].into_iter().zip(paths) {
            self.paths.insert(name.to_owned(), path);
        }
        for name in ["source.txt", "deep.txt"] {
            let found = self.machine.names().into_iter().find(|n| n.ends_with(name));
            self.paths
                .insert(name.to_owned(), format!("/nix/store/{}", found.unwrap()));
        }
    }

    /// Roots of each kind, and what only looks like one.
    fn root(&self) {
        let link = |target: &str, place: &str| {
            let place = self.machine.path("nix").join(place);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, place).unwrap();
        };
        let roots = "var/nix/gcroots";
        link(self.path("lib"), &format!("{roots}/direct"));
        link(
            &format!("{}/file", self.path("base")),
            &format!("{roots}/sub/inside"),
        );
        link(&format!("{INVALID}-nothing"), &format!("{roots}/invalid"));
        link("/nix/scratch/gone", &format!("{roots}/dangling"));
        link("/nix/scratch/gone", &format!("{roots}/auto/stale"));
        link("/nix/scratch/files", &format!("{roots}/directory"));
        let base_name = self.path("other").rsplit('/').next().unwrap();
        let file = self.machine.path("nix").join(roots).join(base_name);
        fs::write(file, "").unwrap();
        let profiles = "var/nix/profiles";
        link("default-2-link", &format!("{profiles}/default"));
        link(self.path("base"), &format!("{profiles}/default-1-link"));
        link(
            self.path("multi.dev"),
            &format!("{profiles}/default-2-link"),
        );
        link("tools-3-link", &format!("{profiles}/per-user/root/tools"));
        for (number, name) in ["other", "fixed", "base", "files"].into_iter().enumerate() {
            let place = format!("{profiles}/per-user/root/tools-{}-link", number + 1);
            link(self.path(name), &place);
        }
        link(self.path("base"), "scratch/to-base");
        link("to-base", "scratch/to-link");
        link("/etc/hostname", "scratch/outside");
        link("nowhere", "scratch/to-nothing");
    }

    fn real<S: AsRef<OsStr>>(
        &self,
        peer: &Peer,
        program: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Command {
        let script = "cd /nix/scratch && exec \"$@\"";
        let mut command = self.machine.command("sh", ["-c", script, "sh"]);
        command.arg(peer.program(program)).args(words);
        command.envs(peer.environment()).env("HOME", "/nix/home");
        command
    }

    /// The store path of what is called `name`.
    #[track_caller]
    pub(crate) fn path(&self, name: &str) -> &str {
        self.paths
            .get(name)
            .unwrap_or_else(|| panic!("'{name}' is not in the store of this test"))
    }

    /// A text with the paths for their names: `{app}`, `{multi.dev}`, `{app.drv}`;
    /// `{app#base}` is the base name of a path and `{app#hash}` its first part.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let (name, after) = after.split_once('}').unwrap();
            let (name, part) = name.split_once('#').unwrap_or((name, ""));
            let path = match name {
                "invalid" => INVALID,
                name => self.path(name),
            };
            let base = path.rsplit('/').next().unwrap_or_default();
            filled.push_str(match part {
                "" => path,
                "base" => base,
                "hash" => &base[..32],
                other => panic!("paths have no part '{other}'"),
            });
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

/// Where files are in memory, if there is such a place: each case has a copy of the store.
pub(crate) fn fast_directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match rustix::fs::statvfs(memory) {
        Ok(found) if !found.f_flag.contains(StatVfsMountFlags::NOEXEC) => memory.to_owned(),
        _ => std::env::temp_dir(),
    }
}

/// What is built; the rest is there as derivations only.
const BUILT: [&str; 8] = [
    "base", "lib", "multi", "app", "other", "fixed", "tree", "changing",
];

/// Lines of nix.conf.
pub(crate) const CONFINED: &str = "sandbox = true\n";

const EXPRESSION: &str = include_str!("fixture.nix");

/// The start of a path that is never valid.
const INVALID: &str = "/nix/store/11111111111111111111111111111111-invalid";
