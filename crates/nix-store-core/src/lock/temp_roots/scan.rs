//! The collector's look at all temporary roots.
//!
//! For each file of `temproots`, with the lock that its owner holds:
//!
//! ```text
//! LOCK_EX|LOCK_NB   had: the owner is dead: unlink the file, mark it with a byte
//! LOCK_SH|LOCK_NB   had: an owner like Nix up to 2.4, or one of ours
//!                        the former appends under LOCK_EX without telling anybody: the shared
//!                        lock is kept until the last deletion, so that it waits
//!                   not: an owner like Nix since 2.5, which tells the collector of new roots;
//!                        or one like 2.4 that is just appending: try for a moment
//! ```

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use nix_base::store_path::HASH_DIGITS;
use nix_base::{StoreDir, StorePathHash};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::super::error::{LockError, Result};
use super::super::flock::{self, LockMode};

/// A path that a live process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TempRoot {
    /// The process, as the name of its file has it.
    pub pid: u32,
    /// The full (logical) path, which need not be valid.
    pub path: String,
    /// The hash part of the path, all that counts for its protection.
    pub hash: StorePathHash,
}

/// The temporary roots of all live processes, and what keeps those of old releases from
/// recording more. Drop it after the last deletion.
#[derive(Debug)]
#[must_use = "owners like Nix 2.4 may record more roots once this is dropped"]
pub struct TempRootsScan {
    roots: Vec<TempRoot>,
    _held: Vec<File>,
}

/// A file whose owner lives.
struct Live {
    pid: u32,
    path: PathBuf,
    file: File,
    has_lock: bool,
    /// Appends without telling a collector, unless it is kept from it.
    is_mute: bool,
}

impl TempRootsScan {
    /// Reads the temporary roots of the store with state directory `state_dir` and logical store
    /// directory `store_dir`, and removes the files of dead processes.
    ///
    /// # Errors
    /// A file can't be read, or holds what isn't a store path. What is missing may be a root, so
    /// a collector must not go on.
    pub fn read(state_dir: &Path, store_dir: &StoreDir) -> Result<Self> {
        let dir_path = state_dir.join("temproots");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(&dir_path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                return Ok(Self {
                    roots: Vec::new(),
                    _held: Vec::new(),
                });
            }
            dir => dir.map_err(|source| LockError::io("read", &dir_path, source))?,
        };
        let mut live = Vec::new();
        for name in names(&dir, &dir_path)? {
            live.extend(examine(&dir, &dir_path, &name)?);
        }
        lock_those_that_were_appending(&mut live)?;
        let mut roots = Vec::new();
        for owner in &mut live {
            owner.read(store_dir, &mut roots)?;
        }
        let held = live
            .into_iter()
            .filter(|owner| owner.has_lock && owner.is_mute)
            .map(|owner| owner.file)
            .collect();
        Ok(Self { roots, _held: held })
    }

    /// What is on record.
    pub fn roots(&self) -> &[TempRoot] {
        &self.roots
    }
}

/// All names but hidden ones, which no process gives its file.
fn names(dir: &OwnedFd, dir_path: &Path) -> Result<Vec<String>> {
    let fail = |source| LockError::io("read", dir_path, source);
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if !name.starts_with(b".") {
            names.push(name.to_str_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens the file of one process, or removes it if that process is dead.
fn examine(dir: &OwnedFd, dir_path: &Path, name: &str) -> Result<Option<Live>> {
    let path = dir_path.join(name);
    let digits = name.len() - name.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    // Nix compat: no collector goes on beside a file whose owner it can't tell.
    let Ok(pid) = name[..digits].parse::<u32>() else {
        return Err(LockError::NoOwner { path });
    };
    let open = |access| {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty())
    };
    loop {
        let opened = match open(OFlags::RDWR) {
            // A store to look at only: whoever wrote the file may still hold its lock.
            Err(Errno::ROFS) => open(OFlags::RDONLY),
            opened => opened,
        };
        let file = match opened {
            // Its owner has ended.
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(LockError::NotRegular { path }),
            file => File::from(file.map_err(|source| LockError::io("open", &path, source))?),
        };
        let try_lock = |mode| {
            flock::try_lock(&file, mode).map_err(|source| LockError::io("lock", &path, source))
        };
        if try_lock(LockMode::Exclusive)? {
            if remove_stale(dir, name, &path, &file)? {
                return Ok(None);
            }
            continue;
        }
        let has_lock = try_lock(LockMode::Shared)?;
        return Ok(Some(Live {
            pid,
            path,
            file,
            has_lock,
            // Ours have more than the number in their names, and wait for collectors.
            is_mute: digits == name.len(),
        }));
    }
}

/// Removes the file of a dead process. False if the name belongs to another file by now.
fn remove_stale(dir: &OwnedFd, name: &str, path: &Path, file: &File) -> Result<bool> {
    let fail = |operation| move |source: Errno| LockError::io(operation, path, source);
    let locked = rustix::fs::fstat(file).map_err(fail("examine"))?;
    if FileType::from_raw_mode(locked.st_mode) != FileType::RegularFile {
        return Err(LockError::NotRegular {
            path: path.to_owned(),
        });
    }
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(true),
        Err(source) => return Err(fail("examine")(source)),
        Ok(named) if (named.st_dev, named.st_ino) != (locked.st_dev, locked.st_ino) => {
            return Ok(false);
        }
        Ok(_) => {}
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        // It stays, and roots nothing.
        Err(Errno::ROFS) => return Ok(true),
        Err(source) => return Err(fail("remove")(source)),
    }
    // After the unlink: an owner that has just made the file and waits for its lock sees the byte
    // and makes a new one.
    file.write_all_at(b"d", 0)
        .map_err(|source| LockError::io("mark", path, source))?;
    Ok(true)
}

/// A 2.4 owner holds its lock exclusively for the moment of an append only.
fn lock_those_that_were_appending(live: &mut [Live]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut rest: Vec<&mut Live> = live
        .iter_mut()
        .filter(|owner| !owner.has_lock && owner.is_mute)
        .collect();
    while !rest.is_empty() && Instant::now() < deadline {
        std::thread::sleep(PAUSE);
        for owner in &mut rest {
            owner.has_lock = flock::try_lock(&owner.file, LockMode::Shared)
                .map_err(|source| LockError::io("lock", &owner.path, source))?;
        }
        rest.retain(|owner| !owner.has_lock);
    }
    Ok(())
}

impl Live {
    fn read(&mut self, store_dir: &StoreDir, roots: &mut Vec<TempRoot>) -> Result<()> {
        let mut text = Vec::new();
        self.file
            .read_to_end(&mut text)
            .map_err(|source| LockError::io("read", &self.path, source))?;
        // The last piece isn't terminated: its owner doesn't rely on it yet.
        let mut records: Vec<&[u8]> = text.split(|&byte| byte == 0).collect();
        records.pop();
        for record in records {
            roots.push(
                parse(record, self.pid, store_dir).ok_or_else(|| LockError::BadRecord {
                    path: self.path.clone(),
                    record: format!("{:?}", record.as_bstr()),
                })?,
            );
        }
        Ok(())
    }
}

fn parse(record: &[u8], pid: u32, store_dir: &StoreDir) -> Option<TempRoot> {
    let path = record.to_str().ok()?;
    let name = path.strip_prefix(store_dir.as_str())?.strip_prefix('/')?;
    let (digits, rest) = name.split_at_checked(HASH_DIGITS)?;
    if !rest.starts_with('-') || rest.contains('/') {
        return None;
    }
    Some(TempRoot {
        pid,
        path: path.to_owned(),
        hash: StorePathHash::from_digits(digits.as_bytes())?,
    })
}

/// How long an append may take.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
