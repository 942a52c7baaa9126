//! Adding a line to an `authorized_keys` file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use posix::unistd::{User, geteuid};

use super::SshKey;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Added,
    WasThere,
}

/// The file of the user that this process runs as, by the user database.
pub(super) fn own_file() -> anyhow::Result<PathBuf> {
    let user = User::from_uid(geteuid()).context("cannot look up this user")?;
    let user = user.context("this user isn't in the user database: name the file")?;
    Ok(user.dir.join(".ssh/authorized_keys"))
}

/// Adds `line` to `file`, which is replaced as a whole and keeps its owner and mode.
pub(super) fn add_line(file: &Path, key: &SshKey, line: &str) -> anyhow::Result<Outcome> {
    let old = match fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let mut text = old.clone().unwrap_or_default();
    for (number, other) in text.lines().enumerate() {
        if other.trim() == line {
            return Ok(Outcome::WasThere);
        }
        // The server takes the first line that has the key, whatever the others say.
        let has_key = other.split([' ', '\t']).any(|word| word == key.base64);
        if has_key && !other.trim_start().starts_with('#') {
            bail!(
                "the key is there already, with other rights, in line {}: remove that line first",
                number + 1
            );
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    match old {
        None => create(file, &text)?,
        Some(_) => replace(&resolved(file)?, &text)?,
    }
    Ok(Outcome::Added)
}

fn create(file: &Path, text: &str) -> io::Result<()> {
    let dir = parent(file);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // What came into being meanwhile isn't overwritten.
    let mut new = private(file)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    File::open(dir)?.sync_all()
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let meta = fs::metadata(file)?;
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = private(&temporary).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        fchown(&new, Some(meta.uid()), Some(meta.gid()))?;
        new.set_permissions(meta.permissions())?;
        new.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, file));
    if renamed.is_err() {
        // The error that led here is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    File::open(parent(file))?.sync_all()
}

fn private(file: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
}

/// The file that a link leads to; the link itself stays.
fn resolved(file: &Path) -> io::Result<PathBuf> {
    let mut file = file.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&file) {
            Ok(target) => file = parent(&file).join(target),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(file),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many symlinks"))
}

fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

const MAX_LINKS: u32 = 32;
