//! What looks like a root, until it is known whether the path is valid.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix_base::{StoreDir, StorePath};

use super::{RootNote, RootSource};

/// What was found, in no order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) candidates: Vec<Candidate>,
    pub(super) notes: Vec<RootNote>,
}

/// A root if the path is valid.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) source: RootSource,
    pub(super) target: StorePath,
    /// What a link names, in full; a link to what isn't valid is noted.
    pub(super) text: Option<PathBuf>,
}

impl Found {
    pub(super) fn add(&mut self, source: RootSource, target: StorePath) {
        self.candidates.push(Candidate {
            source,
            target,
            text: None,
        });
    }

    pub(super) fn add_link(&mut self, link: PathBuf, target: StorePath, text: PathBuf) {
        self.candidates.push(Candidate {
            source: RootSource::Link(link),
            target,
            text: Some(text),
        });
    }

    pub(super) fn unreadable(&mut self, path: &Path, error: impl Into<io::Error>) {
        self.notes.push(RootNote::Unreadable {
            path: path.to_owned(),
            error: error.into(),
        });
    }
}

/// What is below the store directory in a link's target; `None` if it leads elsewhere.
pub(super) fn in_store<'a>(store_dir: &StoreDir, target: &'a Path) -> Option<&'a [u8]> {
    target
        .as_os_str()
        .as_bytes()
        .strip_prefix(store_dir.as_str().as_bytes())?
        .strip_prefix(b"/")
}

/// The store path that `below`, something below the store directory, is or lies in.
pub(super) fn object(below: &[u8]) -> Option<StorePath> {
    let name = below.split(|&byte| byte == b'/').next()?;
    StorePath::from_base_name_bytes(name).ok()
}
