//! Makes an unpacked Nix runnable from the host, and the tools that this takes.
//!
//! The program gets the ELF interpreter and a `DT_RPATH` of its own root. Then `/proc/self/exe`,
//! names such as `nix-store` and forked helpers work as they do when it is installed, and
//! nothing leaks to children as it would with `LD_LIBRARY_PATH`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian::Mirror;
use crate::{env, process};

/// Installs the programs that the peers and their tests want from the host, if they are missing
/// and we may.
pub(super) fn host_packages() -> Result<()> {
    let missing: Vec<&str> = HOST_PROGRAMS
        .iter()
        .filter(|(program, _)| env::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !env::is_root() || env::find_program("apt-get").is_none() {
        bail!(
            "not installed, and only root on a Debian can: {}",
            missing.join(", ")
        );
    }
    println!("installing {}", missing.join(", "));
    process::capture(Command::new("apt-get").args(["update", "-q"]))?;
    let mut install = Command::new("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(&missing);
    process::capture(&mut install).map(drop)
}

/// Puts a static busybox into the cache: the one of the oldest suite whose programs every
/// kernel here runs.
pub(super) fn busybox(mirror: &Mirror, cache: &Path) -> Result<()> {
    let scratch = tempfile::Builder::new()
        .prefix(".busybox.")
        .tempdir_in(cache)?;
    let root = scratch.path().join("root");
    mirror.unpack("bookworm", &["busybox-static"], &root)?;
    let program = scratch.path().join("busybox");
    fs::copy(root.join("usr/bin/busybox"), &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::rename(program, cache.join("busybox")).context("cannot store the busybox")
}

/// Makes the release of a suite in the directory `place`. Packages that are unpacked already
/// are used as they are.
pub(super) fn nix(mirror: &Mirror, suite: &str, place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    let root = place.join("root");
    if !root.join("usr/bin/nix").is_file() {
        let fresh = place.join(".root.new");
        remove_tree(&fresh)?;
        mirror.unpack(suite, &["nix-bin"], &fresh)?;
        remove_tree(&root)?;
        fs::rename(&fresh, &root)?;
    }
    let root = fs::canonicalize(&root)?;
    let libraries = Libraries::find(&root)?;
    let own = place.join("lib");
    let search = libraries.search_path(&own)?;
    copy_nix_libraries(&root, &libraries, &own, &search)?;

    let bin = place.join("bin");
    fs::create_dir_all(&bin)?;
    let program = bin.join(".nix.new");
    fs::copy(root.join("usr/bin/nix"), &program)?;
    process::run(
        Command::new("patchelf")
            .arg("--set-interpreter")
            .arg(&libraries.interpreter)
            .args(["--force-rpath", "--set-rpath", &search])
            .arg(&program),
    )?;
    fs::rename(&program, bin.join("nix"))?;
    link_names(&root.join("usr/bin"), &bin)?;
    let hook = place.join("libexec/nix");
    fs::create_dir_all(&hook)?;
    replace_link("../../bin/nix", &hook.join("build-remote"))
}

/// Makes `link` point to `target`, whatever was there.
pub(super) fn replace_link(target: impl AsRef<Path>, link: &Path) -> Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    symlink(target, link).with_context(|| format!("cannot make the link '{}'", link.display()))
}

/// The libraries of an unpacked root.
struct Libraries {
    /// Such as `usr/lib/x86_64-linux-gnu` in the root, absolute.
    dir: PathBuf,
    interpreter: PathBuf,
}

impl Libraries {
    fn find(root: &Path) -> Result<Self> {
        for entry in fs::read_dir(root.join("usr/lib"))? {
            let dir = entry?.path();
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            if name.contains("-linux-gnu")
                && let Some(interpreter) = find_interpreter(&dir)?
            {
                return Ok(Self { dir, interpreter });
            }
        }
        bail!("'{}' has no ELF interpreter", root.display())
    }

    fn search_path(&self, own: &Path) -> Result<String> {
        let paths = [own, self.dir.as_path()];
        let joined = std::env::join_paths(paths).context("a path has a colon")?;
        joined.into_string().ok().context("a path is not UTF-8")
    }
}

/// Older suites have it as a link that leads out of the root: the regular file counts.
fn find_interpreter(dir: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_loader =
            name.starts_with("ld-linux") || (name.starts_with("ld-") && name.ends_with(".so"));
        if is_loader && entry.file_type()?.is_file() {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Copies Nix's own libraries: those with a `DT_RUNPATH` would not look at the program's
/// `DT_RPATH`, so each gets one.
fn copy_nix_libraries(root: &Path, libraries: &Libraries, own: &Path, search: &str) -> Result<()> {
    remove_tree(own)?;
    fs::create_dir_all(own)?;
    let private = root.join("usr/lib/nix");
    for (dir, start) in [(private.as_path(), ""), (libraries.dir.as_path(), "libnix")] {
        let Ok(entries) = fs::read_dir(dir) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(start) || !name.contains(".so") || !entry.path().is_file() {
                continue;
            }
            let copy = own.join(&name);
            fs::copy(entry.path(), &copy)?;
            process::run(
                Command::new("patchelf")
                    .args(["--force-rpath", "--set-rpath", search])
                    .arg(&copy),
            )?;
        }
    }
    Ok(())
}

/// The other names of the program, `nix-store` and so on.
fn link_names(from: &Path, bin: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with("nix-") {
            replace_link("nix", &bin.join(name))?;
        }
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete '{}'", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Programs and the packages that have them.
const HOST_PROGRAMS: &[(&str, &str)] = &[
    ("patchelf", "patchelf"),
    ("sqlite3", "sqlite3"),
    ("sshd", "openssh-server"),
];
