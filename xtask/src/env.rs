//! The environment: the only file that reads variables or asks where the workspace is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the workspace.
pub(crate) fn workspace_root() -> PathBuf {
    // `cargo run` sets the variable for the program too, so a moved clone finds itself.
    let manifest = var("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_owned).unwrap_or(manifest)
}

/// The directory for build results, absolute.
pub(crate) fn target_dir() -> PathBuf {
    let root = workspace_root();
    match var("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    }
}

/// The cargo that runs us, or the one on `PATH`.
pub(crate) fn cargo() -> OsString {
    var("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Whether this is a run of the continuous integration (`CI` is set to anything but `false`).
pub(crate) fn is_ci() -> bool {
    var("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Where the real Nix releases are: `NIX_PEERS_DIR`, else `nix-peers` in the user's cache.
pub(crate) fn peers_dir() -> Result<PathBuf> {
    if let Some(dir) = var("NIX_PEERS_DIR").filter(|dir| !dir.is_empty()) {
        return std::path::absolute(dir).context("NIX_PEERS_DIR");
    }
    let cache = match var("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            let home = var("HOME").context("neither NIX_PEERS_DIR nor HOME is set")?;
            PathBuf::from(home).join(".cache")
        }
    };
    Ok(cache.join("nix-peers"))
}

/// A Debian mirror that is to be used in place of the one in apt's configuration.
pub(crate) fn peers_mirror() -> Option<String> {
    var("NIX_PEERS_MIRROR")?.into_string().ok()
}

/// The golden vectors of other projects, where they are: never part of this repository.
pub(crate) fn shared_vectors() -> Option<PathBuf> {
    let dir = workspace_root().parent()?.join("shared/vectors");
    dir.is_dir().then_some(dir)
}

/// Finds a program on `PATH`, and in the directories for the administrator's programs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = var("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

/// Whether we may do what only root may.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The variables that select another store or configuration; a task that measures or shows
/// something removes them from its children.
pub(crate) const NIX_VARIABLES: &[&str] = &[
    "NIX_CONFIG",
    "NIX_CONF_DIR",
    "NIX_LOG_DIR",
    "NIX_PATH",
    "NIX_REMOTE",
    "NIX_SSHOPTS",
    "NIX_STATE_DIR",
    "NIX_STORE",
    "NIX_STORE_DIR",
    "NIX_USER_CONF_FILES",
];

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[allow(clippy::disallowed_methods, reason = "this is the file that may")]
fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
