//! Where packages cannot be had: a Nix that is installed on this machine.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::install::replace_link;
use crate::{env, process};

/// Lets the Nix on `PATH` stand for a release, if it is that one.
pub(super) fn link(release: &str, place: &Path) -> Result<()> {
    let program = env::find_program("nix-store").context("no 'nix-store' on PATH")?;
    let program = fs::canonicalize(program)?;
    // The resolved file is often `nix`, which looks at the name it is called by.
    let text = process::capture(Command::new(&program).arg0("nix-store").arg("--version"))?;
    let version = text.split_whitespace().next_back().unwrap_or_default();
    if !stands_for(version, release) {
        bail!("the Nix on PATH is {version}");
    }
    println!("  the Nix {version} on PATH stands for {release}");
    let bin = place.join("bin");
    fs::create_dir_all(&bin)?;
    for name in [
        "nix",
        "nix-store",
        "nix-copy-closure",
        "nix-build",
        "nix-instantiate",
    ] {
        if let Some(found) = env::find_program(name) {
            replace_link(found, &bin.join(name))?;
        }
    }
    let hook = place.join("libexec/nix");
    fs::create_dir_all(&hook)?;
    replace_link(&program, &hook.join("build-remote"))
}

/// Whether a version may take the place of a release: the same minor number, or for the newest
/// release anything from there on.
fn stands_for(version: &str, release: &str) -> bool {
    let (Some(version), Some(release_number)) = (minor(version), minor(release)) else {
        return false;
    };
    version == release_number || (release == super::NEWEST && version > release_number)
}

fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("2.")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_release_accepts_later_versions() {
        assert!(stands_for("2.8.1", "2.8"));
        assert!(stands_for("2.35.0pre2026", "2.34"));
        assert!(!stands_for("2.18.1", "2.8"));
        assert!(!stands_for("2.28.3", "2.26"));
        assert!(!stands_for("3.0", "2.34"));
    }
}
