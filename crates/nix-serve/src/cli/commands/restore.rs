//! `restore`: unpacks the archive on stdin.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use nix_nar::fs::restore::{RestoreOptions, restore_from_fd};
use rustix::fs::{Mode, OFlags};

/// Makes `path` from the archive.
pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let absolute = std::path::absolute(path)
        .with_context(|| format!("cannot restore '{}'", path.display()))?;
    let (parent, name) = match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => (Path::new("/"), OsStr::new(".")),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent, flags, Mode::empty())
        .with_context(|| format!("cannot open directory '{}'", parent.display()))?;
    restore_from_fd(
        io::stdin().as_fd(),
        directory.as_fd(),
        name,
        &RestoreOptions::default(),
    )
    .with_context(|| format!("cannot restore '{}'", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
