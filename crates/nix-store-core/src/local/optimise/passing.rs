//! A tree that is being unpacked: its files are hashed as they pass by, and replaced before
//! their directories are finished.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use nix_base::NarHash;
use nix_nar::fs::watch::WatchFiles;
use rustix::fs::{AtFlags, statat};

use super::hash::{FileHasher, Passing};
use super::linker::{Candidate, Linker};
use crate::error::{Error, Result};

/// Joins the files of one tree with their like.
pub(crate) struct Watch<'w> {
    linker: Linker<'w>,
    hasher: FileHasher,
    file: Option<Passing>,
    failure: Option<Error>,
}

impl<'w> Watch<'w> {
    pub(super) fn new(linker: Linker<'w>) -> Self {
        Self {
            linker,
            hasher: FileHasher::new(),
            file: None,
            failure: None,
        }
    }

    /// What was put onto the shelf; or why nothing was done from some file on.
    pub(super) fn finish(self) -> Result<Vec<NarHash>> {
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.linker.take_new()),
        }
    }

    fn join(&mut self, dir: BorrowedFd<'_>, name: &[u8], hash: NarHash) {
        if self.failure.is_some() {
            return;
        }
        let joined = self.try_join(dir, name, hash);
        self.failure = joined.err();
    }

    fn try_join(&mut self, dir: BorrowedFd<'_>, name: &[u8], hash: NarHash) -> Result<()> {
        let name = CString::new(name).unwrap_or_default();
        let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| {
            let path = name.to_string_lossy();
            Error::io("examine", path.as_ref().as_ref(), error)
        })?;
        let file = Candidate {
            dir,
            name: &name,
            stat,
            hash,
            parent: None,
            is_exposed: false,
        };
        self.linker.join(&file, &mut self.hasher).map(drop)
    }
}

impl WatchFiles for Watch<'_> {
    fn begin_file(&mut self, executable: bool, size: u64) {
        self.file = Some(self.hasher.begin(executable, size));
    }

    fn contents(&mut self, data: &[u8]) {
        if let Some(file) = &mut self.file {
            file.update(data);
        }
    }

    fn end_file(&mut self, dir: BorrowedFd<'_>, name: &[u8]) {
        if let Some(file) = self.file.take() {
            self.join(dir, name, file.finish());
        }
    }

    fn symlink(&mut self, dir: BorrowedFd<'_>, name: &[u8], target: &[u8]) {
        let hash = self.hasher.symlink(target);
        self.join(dir, name, hash);
    }
}
