//! One of the programs that are compared, and what it did.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
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
    /// What the store looks like then, if the case changes it.
    pub(crate) state: String,
}

impl Seen {
    fn new(case: &Case, code: Option<i32>, stdout: String, stderr: &str) -> Self {
        let exit = match code {
            // What `timeout` says.
            Some(124) => "did not end".to_owned(),
            Some(code @ ..128) => code.to_string(),
            // What a shell says.
            _ => "killed".to_owned(),
        };
        let (mut stdout, mut stderr) = (stdout, compared_lines(stderr, case.errors));
        if case.sorted {
            for text in [&mut stdout, &mut stderr] {
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                lines.sort_unstable();
                *text = lines.concat();
            }
        }
        let state = String::new();
        Self {
            exit,
            stdout,
            stderr,
            state,
        }
    }

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
    /// The label of the release, or `ours`.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Real(peer) => peer.label(),
            Self::Ours => "ours".to_owned(),
        }
    }

    /// A copy of the store for this program.
    pub(crate) fn machine(self, fixture: &Fixture) -> Machine {
        let machine = fixture.machine.copy();
        machine.configure(CONFINED);
        if let Self::Ours = self {
            for program in [
                Program::Store,
                Program::CopyClosure,
                Program::CollectGarbage,
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
        let mut command = self.shell(case.alone, machine);
        command.args(["-c", SCRIPT, "sh"]);
        command.arg(self.program(case, machine));
        command.args(case.words.iter().map(|word| fill(word)));
        command.env("BEFORE", fill(&case.before));
        let output = feed(command, case.stdin.as_ref().map(|text| fill(text)));
        assert_ne!(
            output.status.code(),
            Some(UNPREPARED),
            "'{}' can't be prepared: {}",
            case.name,
            String::from_utf8_lossy(&output.stderr)
        );
        let mut places = vec![(machine.path(""), "MACHINE")];
        places.extend(other.map(|(other, _)| (other.path(""), "OTHER")));
        let plain = |bytes: &[u8]| {
            let text = plain(bytes, &places);
            match other {
                Some((_, host)) => text.replace(host, "HOST"),
                None => text,
            }
        };
        let mut seen = Seen::new(
            case,
            output.status.code(),
            plain(&output.stdout),
            &plain(&output.stderr),
        );
        seen.state = state::of(machine);
        if let Some((other, _)) = other {
            seen.state.push_str("the other side\n");
            seen.state.push_str(&state::of(other));
        }
        seen.state = plain(seen.state.as_bytes());
        seen
    }

    /// Runs cases that change nothing, one after the other in one shell, which takes much less
    /// time than a mount namespace for each. All of them are alone, or none.
    pub(crate) fn run_all(
        self,
        cases: &[&Case],
        fixture: &Fixture,
        machine: &Machine,
    ) -> Vec<Seen> {
        let files = tempfile::tempdir().unwrap();
        let file = |number: usize, kind: &str| files.path().join(format!("{number}.{kind}"));
        let mut script = String::from("cd /nix/scratch\n");
        for (number, case) in cases.iter().enumerate() {
            assert!(case.before.is_empty(), "'{}' changes something", case.name);
            let program = self.program(case, machine);
            let words = case.words.iter().map(|word| fixture.fill(word));
            let words: Vec<String> = [program.to_str().unwrap().to_owned()]
                .into_iter()
                .chain(words)
                .collect();
            let line = shlex::try_join(words.iter().map(String::as_str)).unwrap();
            let input = match &case.stdin {
                None => PathBuf::from("/dev/null"),
                Some(text) => {
                    fs::write(file(number, "in"), fixture.fill(text)).unwrap();
                    file(number, "in")
                }
            };
            script.push_str(&format!(
                "timeout 120 {line} <{} >{} 2>{}; echo $? >{}\n",
                input.display(),
                file(number, "out").display(),
                file(number, "err").display(),
                file(number, "exit").display(),
            ));
        }
        fs::write(files.path().join("script"), script).unwrap();
        let mut command = self.shell(cases.iter().any(|case| case.alone), machine);
        command.arg(files.path().join("script"));
        command.stdin(Stdio::null());
        assert!(command.status().unwrap().success());
        let places = [(machine.path(""), "MACHINE")];
        let read = |number, kind| plain(&fs::read(file(number, kind)).unwrap(), &places);
        let seen = cases.iter().enumerate().map(|(number, case)| {
            let code = read(number, "exit").trim().parse().unwrap();
            Seen::new(case, Some(code), read(number, "out"), &read(number, "err"))
        });
        seen.collect()
    }

    fn program(self, case: &Case, machine: &Machine) -> PathBuf {
        match self {
            Self::Real(peer) => peer.program(case.program.name()),
            Self::Ours => machine.path("bin").join(case.program.name()),
        }
    }

    /// A shell on a machine, with the environment that this program needs.
    fn shell(self, alone: bool, machine: &Machine) -> Command {
        let mut command = match alone {
            true => {
                let words = ["--pid", "--fork", "--mount-proc", "timeout", "600", "sh"];
                machine.command("unshare", words)
            }
            false => machine.command("timeout", ["600", "sh"]),
        };
        if let Self::Real(peer) = self {
            command.envs(peer.environment());
        }
        command.env("HOME", "/nix/home").env("NO_COLOR", "1");
        command
    }
}

/// A text without colours, and with names for directories of the test.
fn plain(bytes: &[u8], places: &[(PathBuf, &str)]) -> String {
    let mut text = without_colours(&String::from_utf8_lossy(bytes));
    for (place, name) in places {
        text = text.replace(place.to_str().unwrap().trim_end_matches('/'), name);
    }
    text
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

/// What is to be done before, every command of it with success, and then the program.
const SCRIPT: &str = "trap 'exit 99' EXIT; set -e; cd /nix/scratch; eval \"$BEFORE\"; \
                      set +e; unset BEFORE; trap - EXIT; exec \"$@\"";

/// The exit status of the script if the program wasn't started, which would look like agreement.
const UNPREPARED: i32 = 99;

const NIX_SERVE: &str = env!("CARGO_BIN_EXE_nix-serve");
