//! Debian packages without installing them: apt with a state of its own, then `dpkg-deb`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{env, process};

/// Where packages come from.
#[derive(Debug, Clone)]
pub(super) struct Mirror {
    uri: String,
    arch: String,
}

/// Finds the mirror at the first call and keeps the answer in `known`.
pub(super) fn with_mirror(known: &mut Option<Mirror>) -> Result<&Mirror> {
    if known.is_none() {
        *known = Some(Mirror::find()?);
    }
    known.as_ref().context("no mirror")
}

impl Mirror {
    /// The mirror that this machine's apt is set up with.
    fn find() -> Result<Self> {
        for tool in ["apt-get", "dpkg-deb", "tar"] {
            if env::find_program(tool).is_none() {
                bail!("this is no Debian: there is no '{tool}'");
            }
        }
        let arch = process::capture(Command::new("dpkg").arg("--print-architecture"))?;
        let uri = match env::peers_mirror().or_else(configured_mirror) {
            Some(uri) => uri,
            None => {
                // A fresh image has no package lists yet, and apt names no mirror without them.
                // The targets may still appear when the update fails in part.
                let _ = process::capture(Command::new("apt-get").args(["update", "-q"]));
                configured_mirror().context("apt's configuration names no Debian mirror")?
            }
        };
        Ok(Self {
            uri,
            arch: arch.trim().to_owned(),
        })
    }

    /// Downloads packages of a suite with all that they depend on and unpacks them into `dest`.
    /// Tries again when the network or the mirror fails.
    pub(super) fn unpack(&self, suite: &str, packages: &[&str], dest: &Path) -> Result<()> {
        let mut pauses = [3, 10].into_iter();
        loop {
            let Err(error) = self.try_unpack(suite, packages, dest) else {
                return Ok(());
            };
            let Some(pause) = pauses.next() else {
                return Err(error.context(format!("cannot get '{}'", packages.join(" "))));
            };
            println!("  failed, trying again in {pause} s: {error:#}");
            std::thread::sleep(Duration::from_secs(pause));
        }
    }

    fn try_unpack(&self, suite: &str, packages: &[&str], dest: &Path) -> Result<()> {
        let parent = dest.parent().context("no parent directory")?;
        let state = tempfile::Builder::new()
            .prefix(".apt.")
            .tempdir_in(parent)?;
        let apt = Apt::new(self, suite, state.path())?;
        apt.run(&["update"])?;
        let mut install = vec!["-y", "--download-only", "install"];
        install.extend_from_slice(packages);
        apt.run(&install)?;
        make_merged_root(dest)?;
        for entry in fs::read_dir(state.path().join("cache/archives"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                unpack_deb(&path, dest)?;
            }
        }
        Ok(())
    }
}

/// apt-get with lists, cache and package database of its own, so that the host's stay as they
/// are.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(mirror: &Mirror, suite: &str, state: &Path) -> Result<Self> {
        for dir in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/preferences.d",
        ] {
            fs::create_dir_all(state.join(dir))?;
        }
        fs::write(state.join("status"), "")?;
        let sources = state.join("etc/sources.list");
        let line = format!("deb [signed-by={KEYRING}] {} {suite} main\n", mirror.uri);
        fs::write(&sources, line)?;
        let settings = [
            ("Dir::State", text(state.join("state"))?),
            ("Dir::State::status", text(state.join("status"))?),
            ("Dir::Cache", text(state.join("cache"))?),
            ("Dir::Etc::sourcelist", text(sources)?),
            ("Dir::Etc::sourceparts", "-".to_owned()),
            (
                "Dir::Etc::preferencesparts",
                text(state.join("etc/preferences.d"))?,
            ),
            ("APT::Architecture", mirror.arch.clone()),
            ("APT::Get::AllowUnauthenticated", "false".to_owned()),
            ("APT::Install-Recommends", "false".to_owned()),
            ("APT::Sandbox::User", "root".to_owned()),
            ("Debug::NoLocking", "1".to_owned()),
            // The lists of a suite that is no longer supported run out.
            ("Acquire::Check-Valid-Until", "false".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
        ];
        let mut options = vec!["-q".to_owned()];
        for (name, value) in settings {
            options.extend(["-o".to_owned(), format!("{name}={value}")]);
        }
        Ok(Self { options })
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.args(&self.options).args(args);
        let output = process::output(&mut command)?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!(
            "apt-get {} ended with {}: {}",
            args.join(" "),
            output.status,
            without_hosts(log.trim())
        );
    }
}

/// Directories of a merged-/usr system come first, so that packages of both layouts agree.
fn make_merged_root(dest: &Path) -> Result<()> {
    for dir in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(dest.join("usr").join(dir))?;
        let link = dest.join(dir);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(format!("usr/{dir}"), link)?;
        }
    }
    Ok(())
}

fn unpack_deb(deb: &Path, dest: &Path) -> Result<()> {
    let mut source = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start 'dpkg-deb'")?;
    let archive = source.stdout.take().context("no pipe to 'dpkg-deb'")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"])
        .arg(dest)
        .stdin(archive);
    let unpacked = process::run(&mut tar);
    let status = source.wait()?;
    unpacked?;
    if !status.success() {
        bail!("dpkg-deb on '{}' ended with {status}", deb.display());
    }
    Ok(())
}

fn configured_mirror() -> Option<String> {
    let format = "$(ORIGIN) $(REPO_URI)";
    let targets = process::capture(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))
    .ok()?;
    main_mirror(&targets)
}

/// Picks the archive proper from apt's list of sources: security and updates have no suites of
/// other releases.
fn main_mirror(targets: &str) -> Option<String> {
    targets
        .lines()
        .filter_map(|line| line.strip_prefix("Debian "))
        .find(|uri| !uri.contains("security") && !uri.contains("updates"))
        .map(|uri| uri.trim_end_matches('/').to_owned())
}

/// A log that may be shown anywhere: which mirror a machine uses is its own affair.
fn without_hosts(log: &str) -> String {
    let mut out = String::new();
    let mut rest = log;
    while let Some(at) = rest.find("//") {
        let (before, after) = rest.split_at(at + 2);
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace())
            .unwrap_or(after.len());
        out.push_str(before);
        out.push_str("MIRROR");
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

fn text(path: PathBuf) -> Result<String> {
    path.into_os_string()
        .into_string()
        .ok()
        .context("the path of the cache is not UTF-8")
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_proper_is_taken_as_mirror() {
        let targets = "Debian http://mirror.example/debian-security/\n\
                       Other http://mirror.example/other/\n\
                       Debian http://mirror.example/debian/\n";
        assert_eq!(
            main_mirror(targets).as_deref(),
            Some("http://mirror.example/debian")
        );
    }

    #[test]
    fn a_log_names_no_host() {
        let log = "Err:1 http://mirror.example/debian sid InRelease\nE: http://mirror.example";
        assert_eq!(
            without_hosts(log),
            "Err:1 http://MIRROR/debian sid InRelease\nE: http://MIRROR"
        );
    }
}
