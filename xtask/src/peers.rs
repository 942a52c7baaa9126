//! `cargo xtask peers`: the real Nix releases that the tests and benches compare with.
//!
//! Each one is the `nix-bin` package of a Debian suite with all that it depends on, unpacked
//! into a cache outside the tree and never installed:
//!
//! ```text
//! DIR/VER/bin/nix{,-store,-build,…}   ready to run from the host
//! DIR/VER/libexec/nix/build-remote    the build hook of that release
//! DIR/VER/root                        the unpacked packages
//! DIR/VER/version                     such as 2.34.8
//! DIR/busybox                         a static shell, used as a builder
//! ```
//!
//! `DIR` is `NIX_PEERS_DIR`, or `nix-peers` in the user's cache. Where there is no Debian or no
//! root, a Nix found on `PATH` fills the place of its release.

mod debian;
mod install;
mod on_path;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::{env, process};

/// A release that we know how to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Release {
    /// The name of its directory; the newest one keeps its name when the suite moves on.
    pub(crate) name: &'static str,
    suite: &'static str,
}

/// All releases, oldest first.
pub(crate) const RELEASES: &[Release] = &[
    release("2.3", "bullseye"),
    release("2.8", "bookworm"),
    release("2.26", "trixie"),
    release(NEWEST, "sid"),
];

/// A release that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What the program says of itself.
    pub(crate) version: String,
    dir: PathBuf,
}

impl Peer {
    /// One of its programs, such as `nix-store`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }
}

/// The outcome of [`ensure`].
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) dir: PathBuf,
    pub(crate) found: Vec<Peer>,
    missing: Vec<(Release, anyhow::Error)>,
}

impl Peers {
    /// The release of that name, if it is there.
    pub(crate) fn find(&self, name: &str) -> Option<&Peer> {
        self.found.iter().find(|peer| peer.name == name)
    }

    /// Prints one line for each release, and capitals for what tests will not run against.
    pub(crate) fn report(&self) {
        println!("real Nix releases in {}:", self.dir.display());
        for peer in &self.found {
            println!("  {:<6}{}", peer.name, peer.version);
        }
        for (release, error) in &self.missing {
            println!("  {:<6}missing: {error:#}", release.name);
        }
        for (release, _) in &self.missing {
            println!(
                "WARNING: NIX {} ({}) IS MISSING. NO TEST RUNS AGAINST IT.",
                release.name,
                release.suite.to_uppercase()
            );
        }
    }

    /// Fails if one of these releases is missing.
    pub(crate) fn require(&self, names: &[String]) -> Result<()> {
        for name in names {
            find_release(name)?;
            if self.find(name).is_none() {
                bail!("the real Nix {name} is required and missing");
            }
        }
        Ok(())
    }
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut wanted = Vec::new();
    for name in args.words()? {
        wanted.push(find_release(name)?);
    }
    if wanted.is_empty() {
        wanted.extend_from_slice(RELEASES);
    }
    let required = args.list("require")?;
    for name in &required {
        let release = find_release(name)?;
        if !wanted.contains(&release) {
            wanted.push(release);
        }
    }
    let peers = ensure(&wanted)?;
    peers.report();
    peers.require(&required)
}

/// Makes the releases that are not in the cache yet. One that cannot be had is no error here:
/// it is in the list of the missing with its cause.
pub(crate) fn ensure(wanted: &[Release]) -> Result<Peers> {
    let dir = env::peers_dir()?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create '{}'", dir.display()))?;
    let _lock = lock(&dir)?;
    let mut peers = Peers {
        dir,
        found: Vec::new(),
        missing: Vec::new(),
    };
    let mut debian = None;
    if let Err(error) = install::host_packages() {
        println!("warning: {error:#}");
    }
    if !peers.dir.join("busybox").is_file()
        && let Err(error) =
            debian::with_mirror(&mut debian).and_then(|mirror| install::busybox(mirror, &peers.dir))
    {
        println!("warning: no static busybox: {error:#}");
    }
    for &release in wanted {
        let place = peers.dir.join(release.name);
        let made = if ask_version(&place).is_ok() {
            Ok(())
        } else {
            println!("making Nix {} from Debian {}", release.name, release.suite);
            debian::with_mirror(&mut debian)
                .and_then(|mirror| install::nix(mirror, release.suite, &place))
                .or_else(|error| on_path::link(release.name, &place).map_err(|_| error))
        };
        match made.and_then(|()| ask_version(&place)) {
            Ok(version) => peers.found.push(Peer {
                name: release.name,
                version,
                dir: place,
            }),
            Err(error) => peers.missing.push((release, error)),
        }
    }
    Ok(peers)
}

/// What the release in that directory says of itself; also kept in its file `version`.
fn ask_version(place: &Path) -> Result<String> {
    let text = process::capture(Command::new(place.join("bin/nix-store")).arg("--version"))?;
    let version = text
        .split_whitespace()
        .next_back()
        .with_context(|| format!("'{text}' has no version"))?
        .to_owned();
    let file = place.join("version");
    if std::fs::read_to_string(&file)
        .ok()
        .as_deref()
        .map(str::trim)
        != Some(&version)
    {
        std::fs::write(&file, format!("{version}\n"))
            .with_context(|| format!("cannot write '{}'", file.display()))?;
    }
    Ok(version)
}

fn find_release(name: &str) -> Result<Release> {
    let found = RELEASES.iter().find(|release| release.name == name);
    found.copied().with_context(|| {
        let names: Vec<_> = RELEASES.iter().map(|release| release.name).collect();
        format!("unknown release '{name}'; known are {}", names.join(", "))
    })
}

/// Keeps a second task from making the same releases meanwhile; released on drop.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let file =
        File::create(&path).with_context(|| format!("cannot create '{}'", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .with_context(|| format!("cannot lock '{}'", path.display()))?;
    Ok(file)
}

const fn release(name: &'static str, suite: &'static str) -> Release {
    Release { name, suite }
}

const NEWEST: &str = "2.34";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_release_is_refused_with_the_known_ones() {
        let error = find_release("2.4").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown release '2.4'; known are 2.3, 2.8, 2.26, 2.34"
        );
    }

    #[test]
    fn a_required_release_that_is_missing_is_an_error() {
        let peers = Peers {
            dir: PathBuf::new(),
            found: Vec::new(),
            missing: vec![(RELEASES[1], anyhow::anyhow!("no network"))],
        };
        let error = peers.require(&["2.8".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the real Nix 2.8 is required and missing"
        );
    }
}
