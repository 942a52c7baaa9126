//! Releases of real Nix on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::machine::Machine;
use crate::say::say_missing;

/// A release of real Nix, unpacked under `$NIX_PEERS_DIR` or
/// `~/.cache/nix-peers`, or found on `PATH` where that holds none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    version: String,
    numbers: (u32, u32),
    /// Where `nix-store` and the others are.
    bin: PathBuf,
    /// Where the unpacked package is; unknown for a release on `PATH`.
    base: Option<PathBuf>,
}

impl Peer {
    /// All releases found, oldest first. What is missing has been said.
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Peer>> = OnceLock::new();
        ALL.get_or_init(|| {
            let peers = find_all();
            say_absent(&peers);
            peers
        })
    }

    /// The releases without which the tests say little, 2.8 and 2.26.
    ///
    /// # Panics
    /// In continuous integration, if one is missing.
    pub fn required() -> Vec<&'static Self> {
        ["2.8", "2.26"].into_iter().filter_map(Self::find).collect()
    }

    /// The release, if it and machines to run it on are here. What is missing has been said.
    pub fn on_machines(label: &str) -> Option<&'static Self> {
        Self::find(label).filter(|_| Machine::available())
    }

    /// The release with this label: `2.3`, `2.8`, `2.26`, or `newest` for
    /// whatever is later than 2.26.
    ///
    /// # Panics
    /// In continuous integration, if 2.8 or 2.26 is missing.
    pub fn find(label: &str) -> Option<&'static Self> {
        Self::all().iter().rev().find(|peer| peer.label() == label)
    }

    /// `2.3`, `2.8`, `2.26`, or `newest` for whatever is later than 2.26.
    pub fn label(&self) -> String {
        match self.numbers {
            numbers if numbers > (2, 26) => "newest".to_owned(),
            (major, minor) => format!("{major}.{minor}"),
        }
    }

    /// The version in full, such as `2.34.8`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether this is at least release `major`.`minor`.
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        self.numbers >= (major, minor)
    }

    /// The path of one of its programs, such as `nix-store`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The directory of its programs.
    pub fn bin_dir(&self) -> &Path {
        &self.bin
    }

    /// The environment that makes an unpacked release find its own parts.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![(
            "NIX_CONFIG",
            "experimental-features = nix-command".to_owned(),
        )];
        if let Some(base) = &self.base {
            let below = |part: &str| base.join(part).display().to_string();
            variables.push(("NIX_BIN_DIR", below("bin")));
            variables.push(("NIX_LIBEXEC_DIR", below("libexec")));
            variables.push(("NIX_DATA_DIR", below("root/usr/share")));
        }
        variables
    }

    /// A command of this release on no machine in particular: for chroot
    /// stores (`--store local?root=…`) and for programs that open no store.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/homeless-shelter")
            .env("NIX_CONF_DIR", "/homeless-shelter/conf")
            .env("NIX_REMOTE", "local")
            .envs(self.environment());
        command
    }
}

fn find_all() -> Vec<Peer> {
    let mut peers: Vec<Peer> = peers_dir()
        .and_then(|directory| std::fs::read_dir(directory).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| unpacked(&entry.ok()?.path()))
        .collect();
    if peers.is_empty() {
        peers.extend(on_path());
    }
    peers.sort_by_key(|peer| peer.numbers);
    peers
}

fn peers_dir() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("NIX_PEERS_DIR") {
        return Some(PathBuf::from(directory));
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("nix-peers"))
}

/// The static busybox beside the peers; builder of derivations.
#[must_use]
pub fn busybox() -> Option<PathBuf> {
    peers_dir()
        .map(|directory| directory.join("busybox"))
        .filter(|path| path.is_file())
}

fn unpacked(base: &Path) -> Option<Peer> {
    let version = std::fs::read_to_string(base.join("version")).ok()?;
    let bin = base.join("bin");
    bin.join("nix-store").metadata().ok()?;
    peer(version.trim(), bin, Some(base.to_owned()))
}

fn on_path() -> Option<Peer> {
    let bin = std::env::split_paths(&std::env::var_os("PATH")?)
        .find(|directory| directory.join("nix-store").is_file())?;
    let output = Command::new(bin.join("nix-store"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    peer(text.trim().rsplit(' ').next()?, bin, None)
}

fn peer(version: &str, bin: PathBuf, base: Option<PathBuf>) -> Option<Peer> {
    let mut parts = version.split(|letter: char| !letter.is_ascii_digit());
    let numbers = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Peer {
        version: version.to_owned(),
        numbers,
        bin,
        base,
    })
}

fn say_absent(peers: &[Peer]) {
    for (label, wanted_in_ci) in [
        ("2.3", false),
        ("2.8", true),
        ("2.26", true),
        ("newest", false),
    ] {
        if !peers.iter().any(|peer| peer.label() == label) {
            let text = format!(
                "REAL NIX {} IS NOT HERE, ITS TESTS DO NOTHING (run 'cargo xtask peers')",
                label.to_uppercase()
            );
            say_missing(&text, wanted_in_ci);
        }
    }
}
