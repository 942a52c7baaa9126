//! Appending to the log, and beginning a new file when one is full.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix_base::StoreDir;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::record::Entry;
use super::time::Instant;
use super::{CURRENT, SUFFIX, directory};
use crate::server::{Audit, AuditRecord};

/// When a new file is begun, and how many are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    pub(super) max_bytes: u64,
    pub(super) max_files: usize,
}

impl Rotation {
    const DEFAULT: Self = Self {
        max_bytes: 16 << 20,
        max_files: 64,
    };
}

/// The log, open for one server.
#[derive(Debug)]
pub(crate) struct AuditLog {
    dir: PathBuf,
    store_dir: StoreDir,
    rotation: Rotation,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    has_failed: bool,
}

impl AuditLog {
    /// Opens the log of a store; makes it if there is none.
    pub(crate) fn open(state_dir: &Path, store_dir: StoreDir) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir)?;
        Self::open_rotating(&directory(state_dir), store_dir, Rotation::DEFAULT)
    }

    pub(super) fn open_rotating(
        dir: &Path,
        store_dir: StoreDir,
        rotation: Rotation,
    ) -> io::Result<Self> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700).create(dir)?;
        let file = open_current(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            store_dir,
            rotation,
            state: Mutex::new(State {
                file,
                has_failed: false,
            }),
        })
    }

    fn append(&self, state: &mut State, line: &[u8]) -> io::Result<()> {
        if state.file.metadata()?.len() >= self.rotation.max_bytes {
            self.rotate(&state.file)?;
            state.file = open_current(&self.dir)?;
        }
        // One write: the kernel then puts the line behind all others at once.
        let count = state.file.write(line)?;
        match count == line.len() {
            true => Ok(()),
            // The rest would stand behind somebody else's line.
            false => Err(io::Error::new(io::ErrorKind::WriteZero, "the disk is full")),
        }
    }

    /// Renames `full` if it is still the current file.
    fn rotate(&self, full: &File) -> io::Result<()> {
        let lock = open_private(&self.dir.join(LOCK))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let (ours, current) = (full.metadata()?, self.dir.join(CURRENT));
        match std::fs::symlink_metadata(&current) {
            Ok(theirs) if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) => {}
            // Another server was faster.
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let now = Instant::now().compact();
        let number = ROTATIONS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{now}-{}-{number:06}{SUFFIX}", std::process::id());
        std::fs::rename(&current, self.dir.join(name))?;
        self.forget_oldest()
    }

    fn forget_oldest(&self) -> io::Result<()> {
        let names = super::reader::file_names(&self.dir)?;
        let earlier = names.len().saturating_sub(self.rotation.max_files);
        for name in &names[..earlier] {
            match std::fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit for AuditLog {
    fn record(&self, record: &AuditRecord<'_>) {
        let entry = Entry::new(record, &self.store_dir, Instant::now());
        let mut line = match serde_json::to_vec(&entry) {
            Ok(line) => line,
            Err(error) => return tracing::warn!("cannot write the audit log: {error}"),
        };
        line.push(b'\n');
        let mut state = self.state();
        if let Err(error) = self.append(&mut state, &line)
            && !std::mem::replace(&mut state.has_failed, true)
        {
            let dir = self.dir.display();
            tracing::warn!("cannot write the audit log in '{dir}': {error}");
        }
    }
}

fn open_current(dir: &Path) -> io::Result<File> {
    open_private(&dir.join(CURRENT))
}

/// Opens a file for appending that nobody else can read; no link is followed.
fn open_private(file: &Path) -> io::Result<File> {
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(file)
}

const LOCK: &str = "lock";
/// Keeps names apart that one process gives at the same time.
static ROTATIONS: AtomicU32 = AtomicU32::new(0);
