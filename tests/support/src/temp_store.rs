//! A chroot store in a temporary directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::peer::Peer;
use crate::verify::{run, run_ok, verify_command};

/// A store address of the form `local?root=DIR`, with the directory behind it.
///
/// Store paths keep the prefix `/nix/store`; on disk they lie in `DIR/nix/store`.
/// No privilege is needed, and real Nix opens it as well.
#[derive(Debug)]
pub struct TempStore {
    directory: TempDir,
}

impl TempStore {
    /// A new empty directory; whoever opens the store creates it.
    ///
    /// # Panics
    /// If there is no room for a temporary directory.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("nix-serve-store-")
            .tempdir()
            .expect("a temporary directory can be made");
        Self { directory }
    }

    /// The directory that holds the store.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The store address, `local?root=DIR`.
    pub fn address(&self) -> String {
        format!("local?root={}", self.root().display())
    }

    /// The address for kill tests: what a kill leaves doesn't depend on flushes, and a test has
    /// no patience for them.
    pub fn unflushed_address(&self) -> String {
        format!("{}&durability=none", self.address())
    }

    /// The same store again, in a directory of its own.
    ///
    /// # Panics
    /// If it can't be copied.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        let mut cp = Command::new("cp");
        cp.arg("-a").arg(self.root().join("nix")).arg(copy.root());
        run_ok(cp);
        copy
    }

    /// Demands that neither `program`, which is ours, nor the real Nix of `peer` finds anything
    /// wrong, contents included.
    ///
    /// # Panics
    /// If one does; `what` comes first in the message.
    #[track_caller]
    pub fn assert_clean(&self, program: &str, peer: &Peer, what: &str) {
        let mut ours = Command::new(program);
        ours.args(["verify", "--check-contents", "--store", &self.address()]);
        let output = run(ours);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {stderr}");
        let mut theirs = peer.command("nix-store");
        theirs.args(["--store", &self.address(), "--verify", "--check-contents"]);
        let report = verify_command(theirs);
        assert!(
            report.success && report.problems.is_empty(),
            "{what}: {}",
            report.stderr
        );
    }

    /// Where the store's directory lies, `DIR/nix/store`.
    pub fn store_dir(&self) -> PathBuf {
        self.root().join("nix/store")
    }

    /// Where the state directory lies, `DIR/nix/var/nix`.
    pub fn state_dir(&self) -> PathBuf {
        self.root().join("nix/var/nix")
    }

    /// Where the database lies.
    pub fn database(&self) -> PathBuf {
        self.state_dir().join("db/db.sqlite")
    }

    /// Where a full store path lies on disk.
    ///
    /// # Panics
    /// If the path isn't absolute.
    pub fn on_disk(&self, store_path: &str) -> PathBuf {
        self.root()
            .join(store_path.strip_prefix('/').expect("a full store path"))
    }

    /// The names in the store's directory, sorted; hidden ones too. Empty if
    /// there is no store yet.
    pub fn names(&self) -> Vec<String> {
        names_in(&self.store_dir())
    }
}

impl Default for TempStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempStore {
    fn drop(&mut self) {
        make_removable(self.root());
    }
}

/// The names in a directory, sorted.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

/// Makes the directories below `directory` writable, as those of a store
/// aren't, so that someone who isn't root can remove them.
pub(crate) fn make_removable(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // What can't be changed stays behind in the temporary directory.
    let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}
