//! One of the programs that are compared, and what it did.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use test_support::{Machine, Peer, without_colours};

use crate::cases::{Case, Errors, Program};
use crate::fixture::{CONFINED, Fixture};
use crate::state;

/// A release of real Nix, or this program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Real(&'static Peer),
    Ours,
}

/// What a program printed, how it ended and what it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) exit: String,
    pub(crate) stdout: String,
    /// The lines of stderr that the case compares.
    pub(crate) stderr: String,
    /// Of cases that change the store.
    pub(crate) state: String,
}

impl Seen {
    /// Whether each line of `theirs` that names an error is in one of these, which may say more.
    pub(crate) fn says_all_of(&self, theirs: &Self) -> bool {
        self.stderr.lines().count() == theirs.stderr.lines().count()
            && theirs
                .stderr
                .lines()
                .zip(self.stderr.lines())
                .all(|(theirs, ours)| match theirs.strip_prefix("error: ") {
                    Some(message) => ours.starts_with("error: ") && ours.contains(message),
                    None => ours == theirs,
                })
    }

    /// Keeps of stderr only whether there was something. Words on which the releases don't
    /// agree are no interface.
    pub(crate) fn forget_words(&mut self) {
        if !self.stderr.is_empty() {
            "some error".clone_into(&mut self.stderr);
        }
    }
}

impl Side {
    /// A copy of the store for this program.
    pub(crate) fn machine(self, fixture: &Fixture) -> Machine {
        let machine = fixture.machine.copy();
        machine.configure(CONFINED);
        if let Self::Ours = self {
            for program in [
                Program::NixStore,
                Program::NixCopyClosure,
                Program::NixCollectGarbage,
            ] {
                machine.link(program.name(), Path::new(NIX_SERVE));
            }
        }
        machine
    }

    /// Runs a case on `machine`, with `other` as the host that `{host}` names.
    pub(crate) fn run(
        self,
        case: &Case,
        fixture: &Fixture,
        machine: &Machine,
        other: Option<(&Machine, &str)>,
    ) -> Seen {
        let fill = |text: &str| match other {
            Some((_, host)) => fixture.fill(&text.replace("{host}", host)),
            None => fixture.fill(text),
        };
        let mut command = self.command(case, machine);
        command.args(case.words.iter().map(|word| fill(word)));
        command.env("BEFORE", fill(&case.before));
        let output = feed(command, case.stdin.as_ref().map(|text| fill(text)));
        let plain = |bytes: &[u8]| {
            let mut text = without_colours(&String::from_utf8_lossy(bytes));
            for (place, name) in [(Some(machine), "MACHINE"), (other.map(|o| o.0), "OTHER")] {
                if let Some(place) = place {
                    let place = place.path("");
                    let place = place.to_str().unwrap().trim_end_matches('/');
                    text = text.replace(place, name);
                }
            }
            match other {
                Some((_, host)) => text.replace(host, "HOST"),
                None => text,
            }
        };
        let exit = match output.status.code() {
            // What `timeout` says.
            Some(124) => "did not end".to_owned(),
            Some(code) => code.to_string(),
            None => "killed".to_owned(),
        };
        let mut seen = Seen {
            exit,
            stdout: plain(&output.stdout),
            stderr: compared_lines(&plain(&output.stderr), case.errors),
            state: String::new(),
        };
        if case.sorted {
            for text in [&mut seen.stdout, &mut seen.stderr] {
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                lines.sort_unstable();
                *text = lines.concat();
            }
        }
        if case.changes {
            seen.state = state::of(machine);
            if let Some((other, _)) = other {
                seen.state.push_str("the other side\n");
                seen.state.push_str(&state::of(other));
            }
            seen.state = plain(seen.state.as_bytes());
        }
        seen
    }

    fn command(self, case: &Case, machine: &Machine) -> Command {
        let program = match self {
            Self::Real(peer) => peer.program(case.program.name()),
            Self::Ours => machine.path("bin").join(case.program.name()),
        };
        let mut command = machine.command("timeout", ["60"]);
        if case.alone {
            command.args(["unshare", "--pid", "--fork", "--mount-proc"]);
        }
        command.args(["sh", "-c", SCRIPT, "sh"]).arg(program);
        if let Self::Real(peer) = self {
            command.envs(peer.environment());
        }
        command.env("HOME", "/nix/home").env("NO_COLOR", "1");
        command
    }
}

/// Runs a command with `input` on stdin, or with nothing there.
fn feed(mut command: Command, input: Option<String>) -> std::process::Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Some(input) = input else {
        return command.stdin(Stdio::null()).output().unwrap();
    };
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        // A program that refuses its input closes it early.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// The lines of stderr that are compared. Newer releases write an error on several lines, with
/// what they were doing before it.
fn compared_lines(stderr: &str, errors: Errors) -> String {
    let mut text = String::new();
    let mut keep = |line: &str| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    for line in stderr.lines() {
        let trimmed = line.trim();
        let is_error = trimmed.starts_with("error: ") || trimmed.starts_with("error (ignored): ");
        match errors {
            Errors::None => {}
            _ if is_error => keep(trimmed),
            // 2.3 says its own whole path.
            _ if trimmed.starts_with("Try '") => {
                let name = trimmed.rsplit('/').next().unwrap_or(trimmed);
                keep(&format!("Try '{}", name.trim_start_matches("Try '")));
            }
            Errors::Lines if line.starts_with("warning: ") => {}
            Errors::All if trimmed != "error:" && !trimmed.is_empty() => keep(line),
            _ => {}
        }
    }
    text
}

const SCRIPT: &str = "cd /nix/work && eval \"$BEFORE\" && unset BEFORE && exec \"$@\"";

const NIX_SERVE: &str = env!("CARGO_BIN_EXE_nix-serve");
