//! The program under test, by each of its names.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use test_support::TempStore;

/// The path of the program.
pub(crate) const NIX_SERVE: &str = env!("CARGO_BIN_EXE_nix-serve");

/// `nix-serve` in an environment without configuration.
pub(crate) fn nix_serve<T: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = T>) -> Command {
    let mut command = Command::new(NIX_SERVE);
    command.args(words);
    without_configuration(&mut command);
    command
}

/// `nix-serve` with a store of its own.
pub(crate) fn on<const N: usize>(store: &TempStore, words: [&str; N]) -> Command {
    let mut command = nix_serve(words);
    command.args(["--store", &store.address()]);
    command
}

/// The address of a serving program with a store of its own.
pub(crate) fn served(store: &TempStore) -> String {
    format!(
        "exec:{NIX_SERVE} serve --write --store '{}'",
        store.address()
    )
}

/// Takes this machine's configuration away.
fn without_configuration(command: &mut Command) {
    for name in [
        "NIX_REMOTE",
        "NIX_STORE_DIR",
        "NIX_STORE",
        "NIX_STATE_DIR",
        "NIX_LOG_DIR",
        "NIX_CONFIG",
        "NIX_SSHOPTS",
        "NIX_IGNORE_SYMLINK_STORE",
    ] {
        command.env_remove(name);
    }
    command
        .env("NIX_CONF_DIR", "/nonexistent")
        .env("NIX_USER_CONF_FILES", "")
        .env("NO_COLOR", "1");
}

/// A directory with the program under the names of Nix's own.
pub(crate) struct Faces {
    directory: TempDir,
}

impl Faces {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["nix-store", "nix-copy-closure", "nix-collect-garbage"] {
            std::os::unix::fs::symlink(NIX_SERVE, directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command by one of the names.
    pub(crate) fn command<T: AsRef<std::ffi::OsStr>>(
        &self,
        name: &str,
        words: impl IntoIterator<Item = T>,
    ) -> Command {
        let mut command = Command::new(self.path(name));
        command.args(words);
        without_configuration(&mut command);
        command
    }
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The lines of stdout, after a clean end.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout.lines().collect()
    }

    /// The only line of stdout, after a clean end.
    #[track_caller]
    pub(crate) fn line(&self) -> &str {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0]
    }

    /// The line on stderr that tells what was refused: the only one, with status 1 and
    /// nothing on stdout.
    #[track_caller]
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.stdout, "");
        let mut errors = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        let error = errors.next().unwrap_or_else(|| panic!("{self:?}"));
        assert_eq!(errors.next(), None, "{self:?}");
        error
    }
}

/// Runs a command with nothing on stdin.
pub(crate) fn run(command: Command) -> Ran {
    run_with_input(command, b"")
}

/// Runs a command with `input` on stdin.
pub(crate) fn run_with_input(mut command: Command, input: &[u8]) -> Ran {
    let output = run_raw(command.stdin(Stdio::piped()), input);
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command whose output need not be text.
pub(crate) fn run_raw(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that refuses its input closes it early.
            let _ = std::io::Write::write_all(&mut stdin, input);
        });
        child.wait_with_output().unwrap()
    })
}

/// A store with one file in it: its store path.
pub(crate) fn add_file(store: &TempStore, name: &str, contents: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    std::fs::write(&file, contents).unwrap();
    add(store, &file)
}

/// Adds what is at `path`.
pub(crate) fn add(store: &TempStore, path: &Path) -> String {
    run(on(store, ["add", path.to_str().unwrap()]))
        .line()
        .to_owned()
}
