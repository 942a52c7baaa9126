//! Roots as real Nix finds them.

use std::ffi::OsStr;
use std::fs;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix_base::StoreDir;
use nix_store_core::gc::{RootNote, RootOptions, Roots};
use test_support::{
    Machine, PathToAdd, Peer, TempStore, busybox, nar, poll_until, run, run_ok, say,
};

use crate::real_store::{RealStore, with_each};

/// A store that a real Nix has made, with objects in it.
struct Site {
    real: RealStore,
    /// What lies outside the store and the state.
    home: PathBuf,
    paths: Vec<String>,
}

impl Deref for Site {
    type Target = RealStore;

    fn deref(&self) -> &RealStore {
        &self.real
    }
}

impl Site {
    fn new(peer: &'static Peer) -> Self {
        let real = RealStore::new(peer);
        let home = real.store.root().join("home");
        fs::create_dir(&home).unwrap();
        // Processes of other tests must not name our paths.
        let seed = real.store.root().to_string_lossy().into_owned();
        let object = |number| {
            let file = nar::regular(format!("{seed} {number}").as_bytes());
            let tree = nar::directory(&[(b"file", file)]);
            let mut path = PathToAdd::from_nar(String::new(), tree);
            // Hexadecimal digits are digits of base 32 as well, but for one.
            let digits = path.nar_hash[..32].replace('e', "z");
            path.path = format!("/nix/store/{digits}-root-{number}");
            path
        };
        let paths: Vec<PathToAdd> = (0..4).map(object).collect();
        real.add(&paths);
        let paths = paths.into_iter().map(|path| path.path).collect();
        Self { real, home, paths }
    }

    fn each(test: impl Fn(&Self)) {
        with_each(|peer| test(&Self::new(peer)));
    }

    fn state(&self, below: impl AsRef<Path>) -> PathBuf {
        self.store.state_dir().join(below)
    }

    /// A link below the state directory; parents are made.
    fn link(&self, target: impl AsRef<Path>, below: impl AsRef<Path>) {
        let link = self.state(below);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
    }

    fn real_roots(&self) -> Vec<Vec<u8>> {
        let output = run(self.nix_store(&["--gc", "--print-roots"]));
        assert!(output.status.success(), "{output:?}");
        let mut lines = lines(&output.stdout);
        if self.peer.label() == "newest" {
            // It prints links as paths, in quotes and in the order of paths.
            for line in &mut lines {
                unquote(line);
            }
            lines.retain(|line| !line.is_empty());
            lines.sort();
            lines.push(Vec::new());
        }
        lines
    }

    fn our_roots(&self) -> (Vec<Vec<u8>>, Roots) {
        let roots = self.open().find_roots(&RootOptions::default()).unwrap();
        let mut text = Vec::new();
        for root in &roots.roots {
            text.extend(root.source.to_bytes());
            text.extend(format!(" -> {}\n", StoreDir::default().display(&root.target)).bytes());
        }
        (lines(&text), roots)
    }

    /// Links and files of every kind that means something, or might.
    fn furnish(&self) {
        let [a, b, c, _] = &self.paths[..] else {
            panic!("four paths");
        };
        let absent = format!("/nix/store/{}-absent", "0".repeat(32));
        self.link(a, "gcroots/direct");
        self.link(format!("{b}/file"), "gcroots/deep/er/inside");
        self.link(a, "gcroots/per-user/joe/mine");
        self.link(&absent, "gcroots/invalid");
        self.link("/nix/store/short", "gcroots/no-path");
        self.link("/nix/store", "gcroots/the-store");
        self.link("/nix/store/", "gcroots/the-store-again");
        self.link("/nix/store/../x", "gcroots/out-again");
        self.link(a, OsStr::from_bytes(b"gcroots/with blank \xff and \x07"));
        let named = |path: &str| format!("gcroots/{}", path.trim_start_matches("/nix/store/"));
        fs::write(self.state(named(b)), "").unwrap();
        fs::write(self.state(named(&absent)), "").unwrap();
        fs::write(self.state("gcroots/other-file"), "").unwrap();
        fs::create_dir(self.state(named(c))).unwrap();
        let fifo = self.state("gcroots/fifo");
        run_ok({
            let mut command = Command::new("mkfifo");
            command.arg(fifo);
            command
        });

        symlink(a, self.home.join("result")).unwrap();
        symlink(&absent, self.home.join("invalid")).unwrap();
        symlink("result", self.home.join("twice")).unwrap();
        fs::write(self.home.join("file"), "").unwrap();
        symlink("loop", self.home.join("loop")).unwrap();
        for name in ["result", "invalid", "twice", "file", "loop"] {
            self.link(self.home.join(name), format!("gcroots/auto/{name}"));
        }
        self.link(self.home.join("x/.././result"), "gcroots/roundabout");
        self.link("../../../../../home/result", "gcroots/relative/link");
        self.link(self.home.join("gone"), "gcroots/gone-but-not-auto");
        fs::create_dir(self.home.join("roots")).unwrap();
        symlink(c, self.home.join("roots/unseen")).unwrap();
        self.link(self.home.join("roots"), "gcroots/elsewhere");

        self.link(c, "profiles/system-1-link");
        self.link("system-1-link", "profiles/system");
        self.link(b, "profiles/per-user/joe/channels-7-link");
        fs::write(self.state("profiles").join(&named(a)[8..]), "").unwrap();
    }

    fn stale(&self) -> PathBuf {
        self.link(self.home.join("gone"), "gcroots/auto/deep/stale");
        self.state("gcroots/auto/deep/stale")
    }
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}

/// Takes away the quotes in which the link stands.
fn unquote(line: &mut Vec<u8>) {
    if line.first() == Some(&b'"')
        && let Some(end) = line.windows(2).position(|two| two == b"\" ")
    {
        line.remove(end);
        line.remove(0);
    }
}

fn shown(lines: &[Vec<u8>]) -> String {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| line.escape_ascii().to_string())
        .collect();
    lines.join("\n")
}

/// A process that names a path in its environment, and is there.
struct Sleeper(Child);

impl Sleeper {
    fn new(variable: &str) -> Self {
        let child = Command::new("sleep")
            .arg("1000")
            .env_clear()
            .env("NAMES", variable)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let environ = format!("/proc/{}/environ", child.id());
        poll_until("the process to run", || {
            let text = fs::read(&environ).ok()?;
            text.starts_with(b"NAMES=").then_some(())
        });
        Self(child)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn roots_are_those_that_real_nix_prints() {
    Site::each(|site| {
        site.furnish();
        let paths = &site.paths;
        let named = format!("x{}:{}/bin:/nix/store/nothing", paths[3], paths[1]);
        let _sleeper = Sleeper::new(&named);
        let mut server = site.server();
        let absent = format!("/nix/store/{}-later", "1".repeat(32));
        server.query_valid_paths(true, false, [&paths[0], &absent]);
        let ours = site.open();
        ours.add_temp_root(&StoreDir::default().parse(&paths[2]).unwrap())
            .unwrap();

        let stale = site.stale();
        let theirs = site.real_roots();
        assert!(stale.symlink_metadata().is_err());
        let stale = site.stale();
        let (ours, found) = site.our_roots();
        assert!(stale.symlink_metadata().is_err());
        assert!(ours.len() >= 15, "{}", shown(&ours));
        assert_eq!(shown(&ours), shown(&theirs));

        found.require_complete().unwrap();
        let notes: Vec<String> = found.notes.iter().map(ToString::to_string).collect();
        let home = site.home.display();
        let absent = format!("/nix/store/{}-absent", "0".repeat(32));
        for note in [
            format!(
                "removing stale link from '{}' to '{home}/gone'",
                stale.display()
            ),
            format!("skipping invalid root from '{home}/invalid' to '{absent}'"),
            format!(
                "skipping invalid root from '{}' to '{absent}'",
                site.state("gcroots/invalid").display()
            ),
        ] {
            assert!(notes.contains(&note), "{note:?} in {notes:?}");
        }
        assert_eq!(notes.len(), 3, "{notes:?}");
        server.finish_ok();
    });
}

#[test]
fn roots_are_found_without_changes_when_that_is_asked_for() {
    Site::each(|site| {
        let stale = site.stale();
        let options = RootOptions {
            remove_stale: false,
            ..RootOptions::default()
        };
        let roots = site.open().find_roots(&options).unwrap();
        assert!(roots.roots.is_empty() && roots.notes.is_empty());
        assert!(stale.symlink_metadata().is_ok());
    });
}

/// In a chroot store processes see files where they really are; real Nix doesn't know these
/// for what they are.
#[test]
fn what_a_process_has_open_in_a_chroot_store_is_kept() {
    let Some(peer) = Peer::all().last() else {
        return;
    };
    let site = Site::new(peer);
    let object = |number: usize| site.store.on_disk(&site.paths[number]);
    let mut child = Command::new("sleep")
        .arg("1000")
        .current_dir(object(0))
        .stdin(fs::File::open(object(1).join("file")).unwrap())
        .spawn()
        .unwrap();
    let roots = site.open().find_roots(&RootOptions::default()).unwrap();
    let printed: Vec<_> = roots.roots.iter().map(ToString::to_string).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let base = |number: usize| site.paths[number].trim_start_matches("/nix/store/");
    let expected = [
        format!("/proc/{pid}/cwd -> {}", base(0)),
        format!("/proc/{pid}/fd/0 -> {}", base(1)),
    ];
    for line in &expected {
        assert!(printed.contains(line), "{line} in {printed:?}");
    }
}

#[test]
fn a_directory_of_roots_that_is_too_deep_is_told() {
    let Some(peer) = Peer::all().last() else {
        return;
    };
    let site = Site::new(peer);
    site.link(&site.paths[0], "gcroots/direct");
    fs::create_dir_all(site.state(PathBuf::from_iter(
        std::iter::once("gcroots").chain(std::iter::repeat_n("d", 200)),
    )))
    .unwrap();
    let roots = site.open().find_roots(&RootOptions::default()).unwrap();
    assert_eq!(roots.roots.len(), 1);
    let [RootNote::Unreadable { path, .. }] = &roots.notes[..] else {
        panic!("{:?}", roots.notes);
    };
    assert!(path.starts_with(site.state("gcroots/d/d/d")));
    assert!(roots.require_complete().is_err());
}

#[test]
fn what_running_programs_use_is_what_real_nix_sees() {
    let (true, Some(busybox)) = (Machine::available(), busybox()) else {
        test_support::say_missing(
            "NO MACHINE OR NO BUSYBOX: NO PROGRAM RUNS FROM A STORE",
            true,
        );
        return;
    };
    for peer in Peer::all() {
        say(&format!("beside Nix {}", peer.version()));
        let machine = Machine::with(peer);
        let busybox = busybox.to_str().unwrap();
        let added = run_ok(machine.nix_store(peer, ["--add", busybox]));
        let program = added.last().unwrap().as_str();
        // By another name it wouldn't know what it is.
        machine.link("busybox", program.as_ref());
        let mut command = machine.command("busybox", ["sleep", "1000"]);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let exe = format!("/proc/{}/exe", child.id());
        let runs = || {
            let target = fs::read_link(&exe).ok()?;
            target.ends_with(&program[1..]).then_some(())
        };
        poll_until("the program to run", runs);
        let about_it = |command: Command| -> Vec<String> {
            let lines = run_ok(command).into_iter();
            let lines = lines.map(|line| line.replace('"', ""));
            let mut lines: Vec<_> = lines
                .filter(|line| line.starts_with(&format!("/proc/{}/", child.id())))
                .collect();
            lines.sort();
            lines
        };
        let theirs = about_it(machine.nix_store(peer, ["--gc", "--print-roots"]));
        let ours = about_it(machine.command(SERVE, ["gc", "--print-roots"]));
        let collected = run_ok(machine.command(SERVE, ["gc"]));
        let survives = machine.on_disk(program).symlink_metadata().is_ok();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 2, "exe and maps: {ours:?}");
        assert!(survives, "{collected:?}");
        run_ok(machine.command(SERVE, ["gc"]));
        assert!(machine.on_disk(program).symlink_metadata().is_err());
    }
}

#[test]
fn nothing_is_deleted_while_a_directory_of_roots_is_unreadable() {
    if !rustix::process::geteuid().is_root() {
        say("TAKES ROOT, WHO CAN BECOME SOMEBODY THAT IS KEPT OUT OF DIRECTORIES");
        return;
    }
    let store = TempStore::new();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(SERVE)
            .args(arguments)
            .args(["--store", &store.address()]);
        run(command)
    };
    std::os::unix::fs::chown(store.root(), Some(65534), Some(65534)).unwrap();
    let file = store.root().join("file");
    fs::write(&file, "text").unwrap();
    assert!(nobody(&["init"]).status.success());
    let added = nobody(&["add", file.to_str().unwrap()]);
    let path = String::from_utf8(added.stdout).unwrap();
    let object = store.on_disk(path.trim());
    let locked = store.state_dir().join("gcroots/locked");
    fs::create_dir(&locked).unwrap();
    set_mode(&locked, 0);

    let refused = nobody(&["gc"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    let expected = format!("cannot find roots in '{}'", locked.display());
    assert!(said.contains(&expected), "{said}");
    assert!(object.symlink_metadata().is_ok());
    // To look at what can be seen is fine.
    assert!(nobody(&["gc", "--print-roots"]).status.success());

    set_mode(&locked, 0o755);
    let done = nobody(&["gc"]);
    assert!(done.status.success(), "{done:?}");
    assert!(object.symlink_metadata().is_err());
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const SERVE: &str = env!("CARGO_BIN_EXE_nix-serve");
