//! `builtin:unpack-channel`: unpacks a tar archive, whatever it is compressed with, and
//! renames the one thing in it.
//!
//! The attributes are `src`, the archive, and `channelName`.

#[cfg(test)]
pub(super) mod archives;
mod decompress;
mod extract;
mod place;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bstr::BString;

use super::{BuiltinCall, BuiltinError};

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The name isn't that of one thing in a directory.
    #[error("channelName is not allowed to contain filesystem separators, got {0}")]
    ChannelName(BString),
    /// A system call failed.
    #[error("cannot {what} '{}'", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The archive is damaged, or isn't one.
    #[error("failed to read archive '{}'", .archive.display())]
    Archive {
        /// The archive.
        archive: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A name or a hard link's target has `..` in it.
    #[error("failed to extract archive (Path contains '..'): '{0}'")]
    DotDot(BString),
    /// A name or a hard link's target leads through a symlink.
    #[error("failed to extract archive (Cannot extract through symlink '{0}')")]
    ThroughSymlink(BString),
    /// A name leads through something else than a directory, or can't replace what is
    /// there, or isn't a name at all.
    #[error("failed to extract archive ('{name}' can't be put in place)")]
    CannotPlace {
        /// The name in the archive.
        name: BString,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A hard link to something that isn't there.
    #[error("failed to extract archive (Hard-link target '{0}' does not exist)")]
    NoTarget(BString),
    /// Something that can't be in a store.
    #[error("file '{0}' has an unsupported type")]
    Unsupported(BString),
    /// There is nothing in it.
    #[error("channel tarball '{}' is empty", .0.display())]
    Empty(PathBuf),
    /// There are several things in it.
    #[error("channel tarball '{}' contains more than one file", .0.display())]
    Several(PathBuf),
}

pub(super) fn run(call: &BuiltinCall) -> Result<(), BuiltinError> {
    let out = call.out()?;
    let name = call.required("channelName")?;
    let archive = super::path_of(&call.required("src")?);
    unpack(&archive, out, &name)?;
    Ok(())
}

fn unpack(archive: &Path, out: &Path, name: &[u8]) -> Result<(), UnpackError> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
        return Err(UnpackError::ChannelName(name.into()));
    }
    let file = File::open(archive).map_err(|source| UnpackError::Io {
        what: "open",
        path: archive.to_owned(),
        source,
    })?;
    let damaged = |source| UnpackError::Archive {
        archive: archive.to_owned(),
        source,
    };
    let reader = decompress::all_layers(file).map_err(damaged)?;
    let top = place::Place::create(out)?;
    extract::extract(reader, &top, archive)?;

    let mut names = top.names()?.into_iter();
    match (names.next(), names.next()) {
        (None, _) => Err(UnpackError::Empty(archive.to_owned())),
        (Some(_), Some(_)) => Err(UnpackError::Several(archive.to_owned())),
        (Some(only), None) => top.rename(&only, name),
    }
}

#[cfg(test)]
mod tests;
