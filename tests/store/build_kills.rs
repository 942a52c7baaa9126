//! Kill -9 at any system call of a build leaves a store that verifies, and the retry succeeds
//! (REL-13, REL-40).
//!
//! All threads of the building process count. The processes that it starts die with it. In
//! `cargo xtask soak` every call is a kill point, else every 20th.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use test_support::{Peer, TempStore, Traced, run_and_kill_at, run_ok, say};

use super::kills::step;

const PROGRAM: &str = env!("CARGO_BIN_EXE_nix-serve");

/// A store with a derivation that isn't built yet.
struct Template {
    store: TempStore,
    drv: String,
    outputs: Vec<String>,
    /// What the program ends with when nobody kills it.
    status: i32,
    /// In the command line of the builder and of nothing else.
    marker: String,
}

impl Template {
    /// `script` runs in busybox's shell, which is `$b` as well.
    fn new(name: &str, outputs: &[&str], script: &str, status: i32) -> Self {
        let peer = Peer::all().last().expect("a real Nix to instantiate with");
        let store = TempStore::new();
        let work = tempfile::tempdir().unwrap();
        let tools = work.path().join("tools");
        fs::create_dir(&tools).unwrap();
        let busybox = peer.bin_dir().join("../../busybox");
        run_ok(command("cp", [busybox.as_os_str(), tools.as_os_str()]));
        let marker = format!("kill-{name}-{}", std::process::id());
        let text = format!(
            r#"derivation {{ name = "{name}"; system = "x86_64-linux";
                builder = "${{./tools}}/busybox"; outputs = [ {} ];
                args = [ "sh" "-c" "b=${{./tools}}/busybox; {script}" "{marker}" ]; }}"#,
            outputs
                .iter()
                .map(|output| format!("\"{output}\" "))
                .collect::<String>(),
        );
        let file = work.path().join("default.nix");
        fs::write(&file, text).unwrap();
        let mut instantiate = peer.command("nix-instantiate");
        instantiate.args(["--store", &store.address()]).arg(&file);
        let drv = run_ok(instantiate).remove(0);
        let mut query = Command::new(PROGRAM);
        query.args(["drv", "outputs", "--store", &store.address(), &drv]);
        let outputs = run_ok(query)
            .iter()
            .map(|line| line.split_whitespace().last().unwrap().to_owned())
            .collect();
        Self {
            store,
            drv: drv.split('!').next().unwrap().to_owned(),
            outputs,
            status,
            marker,
        }
    }

    fn arguments(&self, store: &TempStore) -> Vec<String> {
        let address = store.unflushed_address();
        let mut arguments = vec!["build", "--no-link", "--store", &address];
        // Users of the automatic range, whatever this machine's configuration says.
        arguments.extend(["--option", "build-users-group", "", "-Q", &self.drv]);
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn run_and_kill(&self, store: &TempStore, at: u64) -> Traced {
        let input = File::open("/dev/null").unwrap();
        run_and_kill_at(OsStr::new(PROGRAM), &self.arguments(store), input, at)
    }

    fn retry(&self, store: &TempStore) -> Output {
        let mut build = Command::new(PROGRAM);
        build.args(self.arguments(store)).output().unwrap()
    }

    /// No process of the build outlives the one that was killed.
    fn assert_nothing_runs(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Some(pid) = process_with(&self.marker) {
            assert!(Instant::now() < deadline, "{what}: process {pid} lives on");
            std::thread::yield_now();
        }
    }

    /// What is at a final path is valid; the outputs are there exactly after a success.
    fn assert_outcome(&self, store: &TempStore, retried: &Output, what: &str) {
        let stderr = String::from_utf8_lossy(&retried.stderr);
        assert_eq!(retried.status.code(), Some(self.status), "{what}: {stderr}");
        for output in &self.outputs {
            let present = store.on_disk(output).symlink_metadata().is_ok();
            assert_eq!(present, self.status == 0, "{what}: {output}");
        }
        let builds = store.state_dir().join("builds");
        let left = fs::read_dir(builds).map_or(0, Iterator::count);
        // The killed run leaves its directory; the retry leaves none.
        assert!(left <= 1, "{what}: {left} build directories");
    }
}

fn command<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// A process whose command line has `marker`, this test's own apart.
fn process_with(marker: &str) -> Option<String> {
    let own = std::process::id().to_string();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let line = fs::read(Path::new("/proc").join(&pid).join("cmdline")).ok()?;
        let found = line
            .split(|byte| *byte == 0)
            .any(|word| word == marker.as_bytes());
        (pid != own && found).then_some(pid)
    })
}

fn kill_everywhere(template: &Template) -> u64 {
    let peers: Vec<&Peer> = Peer::all().iter().collect();
    let whole = template.store.copy();
    let Traced::Ended { status, calls } = template.run_and_kill(&whole, u64::MAX) else {
        panic!("{}: killed by nobody", template.drv);
    };
    assert_eq!(status, template.status, "{}", template.drv);
    let mut points = 0;
    for at in (1..=calls).step_by(usize::try_from(step()).unwrap()) {
        let store = template.store.copy();
        let what = format!("{} killed at system call {at} of {calls}", template.drv);
        // With several threads the number of calls differs from run to run.
        if let Traced::Ended { status, .. } = template.run_and_kill(&store, at) {
            assert_eq!(status, template.status, "{what}");
        }
        template.assert_nothing_runs(&what);
        let peer = peers[usize::try_from(points).unwrap() % peers.len()];
        store.assert_clean(PROGRAM, peer, &what);
        let retried = template.retry(&store);
        template.assert_outcome(&store, &retried, &what);
        points += 1;
    }
    say(&format!(
        "kill points: {}: {points} of {calls} system calls",
        template.drv
    ));
    points
}

#[test]
fn killed_at_any_system_call_a_build_of_two_outputs_leaves_a_clean_store() {
    let script = "$b mkdir $out; $b echo $dev > $out/dev; $b echo x > $dev";
    let template = Template::new("two", &["out", "dev"], script, 0);
    assert!(kill_everywhere(&template) >= 20);
}

#[test]
fn killed_at_any_system_call_a_failing_build_leaves_a_clean_store() {
    let script = "$b echo x > $out; exit 3";
    let template = Template::new("bad", &["out"], script, 100);
    assert!(kill_everywhere(&template) >= 20);
}
