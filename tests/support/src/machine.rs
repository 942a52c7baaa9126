//! A machine of its own: a directory mounted on `/nix` in a mount namespace.
//!
//! ```text
//! DIR/nix        what its programs see as /nix
//! DIR/conf       NIX_CONF_DIR with nix.conf
//! DIR/home DIR/tmp
//! DIR/bin        first on PATH: the programs that the test chose, and `ssh`
//! DIR/enter      script that runs a command on this machine
//! DIR/ssh.log    argument lists that `ssh` was called with, one a line
//! ```
//!
//! Programs of one machine see each other's `/nix`; those of two machines
//! don't. Everything else (processes, network, `/tmp`) is the host's.

mod scripts;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::peer::Peer;
use crate::say::say_missing;
use crate::temp_store::{make_removable, names_in};
use crate::verify::run_ok;

/// One side of a copy, with a `/nix` that nobody else sees.
#[derive(Debug)]
pub struct Machine {
    directory: TempDir,
}

impl Machine {
    /// Whether machines can be had here: that takes root, `unshare` and
    /// `mount`. If not, the reason has been said.
    ///
    /// # Panics
    /// If they can't and `CI=true`.
    pub fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| match try_namespace() {
            Ok(()) => true,
            Err(why) => {
                say_missing(
                    &format!("NO MOUNT NAMESPACES, TESTS BETWEEN MACHINES DO NOTHING: {why}"),
                    true,
                );
                false
            }
        })
    }

    /// A machine with an empty store and no Nix of its own.
    ///
    /// # Panics
    /// If machines aren't available.
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// A machine whose directory is made in `parent`.
    ///
    /// # Panics
    /// If machines aren't available.
    pub fn new_in(parent: &Path) -> Self {
        assert!(Self::available(), "machines are available");
        let directory = tempfile::Builder::new()
            .prefix("nix-serve-machine-")
            .tempdir_in(parent)
            .expect("a temporary directory can be made");
        let machine = Self { directory };
        for part in [
            "nix/store",
            "nix/var/nix",
            "nix/var/log/nix",
            "conf",
            "home",
            "tmp",
            "bin",
        ] {
            fs::create_dir_all(machine.path(part)).expect("a machine's directory can be made");
        }
        machine.configure("");
        write_script(&machine.path("enter"), &scripts::enter(&machine));
        machine
    }

    /// A machine on which the programs of `peer` are on `PATH`.
    pub fn with(peer: &Peer) -> Self {
        let machine = Self::new();
        machine.install(peer);
        machine
    }

    /// A machine whose `/nix` is a copy of this one's, and nothing else.
    ///
    /// # Panics
    /// If it can't be copied. Nobody may write to it meanwhile.
    pub fn copy(&self) -> Self {
        let parent = self.directory.path().parent();
        let copy = Self::new_in(parent.expect("a temporary directory is in another one"));
        let mut cp = Command::new("cp");
        cp.args(["-a", "-T"])
            .arg(self.path("nix"))
            .arg(copy.path("nix"));
        run_ok(cp);
        copy
    }

    /// A path below the machine's directory, as the host sees it.
    pub fn path(&self, part: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(part)
    }

    /// Where something below the machine's `/nix` lies for the host.
    ///
    /// # Panics
    /// If the path isn't absolute.
    pub fn on_disk(&self, path: &str) -> PathBuf {
        self.path(path.strip_prefix('/').expect("an absolute path"))
    }

    /// The names in the machine's store directory, sorted, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        names_in(&self.path("nix/store"))
    }

    /// Writes nix.conf: no sandbox, no substituters, no signatures needed,
    /// and these lines.
    pub fn configure(&self, lines: &str) {
        let text = format!(
            "build-users-group =\nsandbox = false\nsandbox-paths =\nsubstituters =\n\
             require-sigs = false\nmax-jobs = 1\n{lines}\n"
        );
        fs::write(self.path("conf/nix.conf"), text).expect("nix.conf can be written");
    }

    /// Puts all programs of a release on the machine's `PATH`.
    pub fn install(&self, peer: &Peer) {
        for name in names_in(peer.bin_dir()) {
            self.install_script(&name, &scripts::peer_program(peer, &name, None));
        }
    }

    /// Puts `nix-store` of a release on the machine's `PATH`, with a copy of
    /// all that it reads from stdin in `log`.
    pub fn install_recorded(&self, peer: &Peer, log: &Path) {
        self.install_script(
            "nix-store",
            &scripts::peer_program(peer, "nix-store", Some(log)),
        );
    }

    /// Puts a symlink to `program` on the machine's `PATH` under `name`.
    ///
    /// # Panics
    /// If it can't be made.
    pub fn link(&self, name: &str, program: &Path) {
        let link = self.path("bin").join(name);
        // There may be one already; any other trouble shows in the next step.
        let _ = fs::remove_file(&link);
        symlink(program, &link).expect("a symlink can be made");
    }

    /// Puts a shell script on the machine's `PATH`.
    pub fn install_script(&self, name: &str, text: &str) {
        write_script(&self.path("bin").join(name), text);
    }

    /// Puts an `ssh` on the machine's `PATH` that reaches `other` under the
    /// host name returned. There may be any number of others.
    ///
    /// # Panics
    /// If its files can't be written.
    pub fn ssh_to(&self, other: &Self) -> String {
        let host = other
            .path("")
            .file_name()
            .and_then(OsStr::to_str)
            .expect("temporary directories have UTF-8 names")
            .to_lowercase();
        let hosts = self.path("hosts");
        fs::create_dir_all(&hosts).expect("the directory of hosts can be made");
        symlink(other.enter(), hosts.join(&host)).expect("a host can be made");
        self.install_script("ssh", &scripts::ssh(&self.path("ssh.log"), &hosts));
        host
    }

    /// The argument lists that `ssh` was called with, one a line.
    pub fn ssh_log(&self) -> String {
        fs::read_to_string(self.path("ssh.log")).unwrap_or_default()
    }

    /// The script that runs a command on this machine with a fresh environment.
    pub fn enter(&self) -> PathBuf {
        self.path("enter")
    }

    /// A command that runs `program` on this machine; looked up on its `PATH`
    /// if it has no slash.
    pub fn command<I, S>(&self, program: impl AsRef<OsStr>, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("unshare");
        command
            .args(UNSHARE)
            .arg(self.path("nix"))
            .arg(program)
            .args(arguments);
        command
            .env_clear()
            .envs(self.environment())
            .current_dir(self.path("home"));
        command
    }

    /// A command that runs a program of `peer` on this machine, whatever is
    /// installed on its `PATH`.
    pub fn peer<I, S>(&self, peer: &Peer, program: &str, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(peer.program(program), arguments);
        command.envs(peer.environment());
        command
    }

    /// `nix-store` of `peer` on this machine.
    pub fn nix_store<I, S>(&self, peer: &Peer, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.peer(peer, "nix-store", arguments)
    }

    /// Makes `path` a root that no collector passes over.
    ///
    /// # Panics
    /// If the link can't be made.
    pub fn add_root(&self, name: &str, path: &str) {
        let roots = self.path("nix/var/nix/gcroots");
        fs::create_dir_all(&roots).expect("the directory of roots can be made");
        symlink(path, roots.join(name)).expect("a root can be made");
    }

    /// The environment of everything that runs on this machine.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let below = |part: &str| self.path(part).display().to_string();
        vec![
            (
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", below("bin")),
            ),
            ("HOME", below("home")),
            ("TMPDIR", below("tmp")),
            ("NIX_CONF_DIR", below("conf")),
            ("NIX_REMOTE", "local".to_owned()),
            ("NIX_STATE_DIR", "/nix/var/nix".to_owned()),
            ("NIX_LOG_DIR", "/nix/var/log/nix".to_owned()),
            (
                "NIX_CONFIG",
                "experimental-features = nix-command".to_owned(),
            ),
            ("USER", "root".to_owned()),
        ]
    }

    /// Which of these paths are on disk.
    pub fn present<'a>(&self, paths: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
        paths
            .into_iter()
            .map(String::as_str)
            .filter(|path| self.on_disk(path).symlink_metadata().is_ok())
            .collect()
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        make_removable(self.directory.path());
    }
}

/// Arguments of `unshare`; the directory and the command follow.
const UNSHARE: [&str; 6] = [
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    "mount --bind \"$0\" /nix && exec \"$@\"",
];

fn write_script(path: &Path, text: &str) {
    // Written under another name first: a script that is open for writing in
    // some forked child can't be started.
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).expect("a script can be written");
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("a script's mode");
    fs::rename(&fresh, path).expect("a script can be put in place");
}

fn try_namespace() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("that takes root".to_owned());
    }
    // Nothing is put into it; it is a place to mount on.
    fs::create_dir_all("/nix").map_err(|error| format!("cannot make '/nix': {error}"))?;
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let output = Command::new("unshare")
        .args(UNSHARE)
        .arg(place.path())
        .arg("true")
        .output()
        .map_err(|error| format!("cannot run 'unshare': {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
