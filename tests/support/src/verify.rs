//! Running commands, and letting real Nix judge a store.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use crate::machine::Machine;
use crate::nar;
use crate::peer::Peer;
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

/// Runs a command to its end.
///
/// # Panics
/// If it can't be started.
pub fn run(mut command: Command) -> Output {
    command
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
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
