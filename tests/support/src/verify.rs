//! Running commands, and letting real Nix judge a store.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use crate::machine::Machine;
use crate::nar;
use crate::peer::Peer;
use crate::say::say;
use crate::temp_store::TempStore;

/// What real Nix said about a store.
#[derive(Debug)]
pub struct VerifyReport {
    /// The lines on stderr that name a problem.
    pub problems: Vec<String>,
    /// Whether the exit status was 0.
    pub success: bool,
    /// All of stderr.
    pub stderr: String,
}

impl VerifyReport {
    /// Demands a clean store.
    ///
    /// # Panics
    /// If there was a problem.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(
            self.success && self.problems.is_empty(),
            "real Nix is not content with the store:\n{}",
            self.stderr
        );
    }
}

/// Runs a command to its end, which has to come within two minutes.
///
/// # Panics
/// If it can't be started, or doesn't end in time.
#[track_caller]
pub fn run(mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    let in_time = wait_for(&child, Duration::from_secs(120));
    if !in_time {
        // It may end by itself at this very moment.
        let _ = child.kill();
    }
    let output = Output {
        status: child.wait().expect("our child can be waited for"),
        stdout: stdout.join().expect("a reader doesn't panic"),
        stderr: stderr.join().expect("a reader doesn't panic"),
    };
    assert!(
        in_time,
        "killed, for it didn't end in time: {command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Reads a pipe to its end beside everything else.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends it; what came before is kept.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Whether a child ends within `limit`.
fn wait_for(child: &Child, limit: Duration) -> bool {
    let pid = Pid::from_child(child);
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).expect("our child has a descriptor");
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut waited = [PollFd::new(&descriptor, PollFlags::IN)];
        match poll(&mut waited, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.expect("a process can be polled") > 0,
        }
    }
}

/// Runs a command that has to succeed, and gives the lines of its stdout.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn run_ok(command: Command) -> Vec<String> {
    let text = format!("{command:?}");
    let output = run(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {text}\n{stderr}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Runs a collection of real Nix; false if that ended by itself.
///
/// The thread of Nix since 2.8 that hears of new roots may die with the client it listens to,
/// whoever that is, and takes the collector with it (`std::terminate`).
///
/// # Panics
/// If it fails otherwise.
#[track_caller]
pub fn collect_really(command: Command) -> bool {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.signal().is_some() || said.contains("Nix crashed") {
        say(&format!("a collector of real Nix died: {}", output.status));
        return false;
    }
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    assert!(output.status.success(), "{}: {last:?}", output.status);
    true
}

/// `nix-store --verify --check-contents` of a release on a machine.
///
/// # Panics
/// If real Nix is not content.
#[track_caller]
pub fn verify_with(peer: &Peer, machine: &Machine) {
    verify_command(machine.nix_store(peer, VERIFY)).assert_clean();
}

impl TempStore {
    /// `nix-store --verify --check-contents` of a release on this store.
    ///
    /// # Panics
    /// If real Nix is not content.
    #[track_caller]
    pub fn verify_with(&self, peer: &Peer) {
        let mut command = peer.command("nix-store");
        command.args(["--store", &self.address()]).args(VERIFY);
        verify_command(command).assert_clean();
    }
}

/// Runs a verifying command of real Nix and sorts what it said.
pub fn verify_command(command: Command) -> VerifyReport {
    let output = run(command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let problems = stderr
        .lines()
        .filter(|line| !is_progress(line))
        .map(str::to_owned)
        .collect();
    VerifyReport {
        problems,
        success: output.status.success(),
        stderr,
    }
}

/// Demands that paths are the same on two machines: the archive of each byte
/// for byte, and modification times as a store has them.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn assert_same_contents<'a>(
    left: &Machine,
    right: &Machine,
    paths: impl IntoIterator<Item = &'a String>,
) {
    use std::os::unix::fs::MetadataExt;
    let mut different = BTreeSet::new();
    for path in paths {
        let (one, other) = (left.on_disk(path), right.on_disk(path));
        let time = other
            .symlink_metadata()
            .unwrap_or_else(|error| panic!("'{path}' was not copied: {error}"))
            .mtime();
        if time != 1 || nar::of_path(&one) != nar::of_path(&other) {
            different.insert(path);
        }
    }
    assert!(
        different.is_empty(),
        "contents or times differ: {different:?}"
    );
}

fn is_progress(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || HARMLESS.iter().any(|words| line.starts_with(words))
}

/// How lines begin that name no problem; each release has its own words.
const HARMLESS: [&str; 6] = [
    "reading the Nix store",
    "checking path existence",
    "checking link hashes",
    "checking hashes",
    "checking store hashes",
    // Of a command on no machine in particular, which has no nix.conf.
    "warning: the group 'nixbld' specified in 'build-users-group' does not exist",
];

const VERIFY: [&str; 2] = ["--verify", "--check-contents"];
