//! The directories of one build.
//!
//! ```text
//! <builds>/                         0755, the server's
//!   <name>-<random>/                0700, the server's: nobody else gets through
//!     build/                        0700, the builder's: its working directory
//!     tmp/                          1777: what it sees as /tmp
//! ```
//!
//! The outer directory keeps other users, and other processes with the builder's user id, from
//! what a builder makes world-readable (CVE-2024-38531). Everything below is reached through
//! descriptors only, and created new.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use nix_base::nix32;
use nix_nar::fs::remove::remove_tree;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Uid, flock};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::env::BuildFile;
use crate::failure::{BuildFailure, Result};

/// Whom the builder's files belong to; `None` leaves them with this process's user.
pub(super) type Owner = Option<(u32, u32)>;

/// The directories of one build; removed when dropped, unless kept.
#[derive(Debug)]
pub(super) struct BuildPlace {
    builds: OwnedFd,
    name: String,
    path: PathBuf,
    top: OwnedFd,
    build: OwnedFd,
    owner: Owner,
    kept: bool,
}

impl BuildPlace {
    /// Makes the directories of a build of `name` below `builds`.
    pub(super) fn create(builds: &Path, name: &str, owner: Owner) -> Result<Self> {
        let fail = |what: &str, path: &Path, error: Errno| {
            BuildFailure::misc(format!("{what} '{}': {error}", path.display()))
        };
        if owner.is_some() {
            check_ancestors(builds)?;
        }
        std::fs::create_dir_all(builds).map_err(|error| {
            BuildFailure::misc(format!("cannot create '{}': {error}", builds.display()))
        })?;
        let parent = open_dir(rustix::fs::CWD, builds.as_os_str())
            .map_err(|error| fail("cannot open", builds, error))?;
        let name = format!("{}-{}", shortened(name), random_digits()?);
        let path = builds.join(&name);
        let make = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
            rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
            let top = open_dir(&parent, name.as_ref())?;
            // Whoever removes what dead servers left sees that this one lives; where there are
            // no locks, nobody can remove it either.
            let _ = flock(&top, FlockOperation::NonBlockingLockShared);
            let build = make_dir(&top, BUILD, Mode::RWXU, owner)?;
            let sticky = Mode::from_raw_mode(0o1777);
            make_dir(&top, TMP, sticky, None)?;
            Ok((top, build))
        };
        let (top, build) = make().map_err(|error| {
            let _ = remove_tree(parent.as_fd(), name.as_ref());
            fail("cannot create build directory", &path, error)
        })?;
        Ok(Self {
            builds: parent,
            name,
            path,
            top,
            build,
            owner,
            kept: false,
        })
    }

    /// The builder's working directory on the host.
    pub(super) fn build_path(&self) -> PathBuf {
        self.path.join(BUILD)
    }

    /// The builder's `/tmp` on the host.
    pub(super) fn tmp_path(&self) -> PathBuf {
        self.path.join(TMP)
    }

    /// The directory with everything in it.
    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Puts files into the working directory; they belong to the builder.
    pub(super) fn write_files(&self, files: &[BuildFile]) -> Result<()> {
        files.iter().try_for_each(|file| {
            self.write_file(file).map_err(|error| {
                let path = self.build_path().join(file.name.to_os_str_lossy());
                BuildFailure::misc(format!("cannot write '{}': {error}", path.display()))
            })
        })
    }

    fn write_file(&self, file: &BuildFile) -> std::io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(file.mode);
        let fd = rustix::fs::openat(&self.build, file.name.as_slice(), flags, mode)?;
        let mut out = std::fs::File::from(fd);
        out.write_all(&file.contents)?;
        rustix::fs::fchmod(&out, mode)?;
        chown(&out, self.owner)?;
        Ok(())
    }

    /// Leaves the working directory behind for whoever wants to look into it, as this
    /// process's user's; gives its path. All processes of the build must be gone.
    pub(super) fn keep(mut self) -> Result<PathBuf> {
        self.kept = true;
        let path = self.build_path();
        let fail =
            |error: Errno| BuildFailure::misc(format!("cannot keep '{}': {error}", path.display()));
        take_over(&self.top, BUILD).map_err(fail)?;
        let open = Mode::from_raw_mode(0o755);
        rustix::fs::fchmod(&self.build, open).map_err(fail)?;
        rustix::fs::fchmod(&self.top, open).map_err(fail)?;
        if let Err(error) = remove_tree(self.top.as_fd(), TMP.as_ref()) {
            tracing::debug!("cannot remove '{}': {error}", self.tmp_path().display());
        }
        Ok(path)
    }
}

impl Drop for BuildPlace {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = remove_tree(self.builds.as_fd(), self.name.as_ref()) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "build directory '{}' stays behind",
                self.path.display()
            );
        }
    }
}

/// Makes a new directory and opens it.
pub(super) fn make_dir(
    parent: impl AsFd,
    name: &str,
    mode: Mode,
    owner: Owner,
) -> rustix::io::Result<OwnedFd> {
    rustix::fs::mkdirat(parent.as_fd(), name, Mode::RWXU)?;
    let dir = open_dir(parent.as_fd(), name.as_ref())?;
    chown(&dir, owner)?;
    // The umask doesn't have a say in this, and the owner was changed first.
    rustix::fs::fchmod(&dir, mode)?;
    Ok(dir)
}

fn chown(file: impl AsFd, owner: Owner) -> rustix::io::Result<()> {
    match owner {
        Some((uid, gid)) => {
            rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        }
        None => Ok(()),
    }
}

fn open_dir(parent: impl AsFd, name: &std::ffi::OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Gives a tree to this process's user, without set-id bits, following no links. Iterative:
/// a builder may nest as deep as it likes.
fn take_over(parent: impl AsFd, name: &str) -> rustix::io::Result<()> {
    let first = open_dir(parent.as_fd(), name.as_ref())?;
    rustix::fs::fchown(&first, Some(geteuid()), Some(getegid()))?;
    let mut open = vec![Dir::new(first)?];
    loop {
        let depth = open.len();
        let Some(dir) = open.last_mut() else {
            return Ok(());
        };
        let Some(entry) = dir.read() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let fd = dir.fd()?;
        let kind = take_over_entry(fd, name)?;
        // What lies deeper keeps its owners; no descriptors would be left for it.
        if kind == FileType::Directory && depth < MAX_DEPTH {
            let inner = openat_dir(fd, name)?;
            open.push(Dir::new(inner)?);
        }
    }
}

fn take_over_entry(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> rustix::io::Result<FileType> {
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    let stat = rustix::fs::statat(dir, name, no_follow)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    rustix::fs::chownat(dir, name, Some(geteuid()), Some(getegid()), no_follow)?;
    // Root's change of owner leaves the set-group bit of files that no group may run.
    if kind == FileType::RegularFile && stat.st_mode & 0o6000 != 0 {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o777))?;
    }
    Ok(kind)
}

fn openat_dir(dir: impl AsFd, name: &std::ffi::CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Refuses a place that other users could exchange under our hands. A directory with the
/// sticky bit is fine: only owners move what is in it.
fn check_ancestors(path: &Path) -> Result<()> {
    for ancestor in path.ancestors() {
        if ancestor.as_os_str().is_empty() {
            continue;
        }
        let stat = match rustix::fs::lstat(ancestor) {
            Err(Errno::NOENT) => continue,
            Err(error) => {
                return Err(BuildFailure::misc(format!(
                    "cannot examine '{}': {error}",
                    ancestor.display()
                )));
            }
            Ok(stat) => stat,
        };
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let is_open = stat.st_mode & 0o002 != 0 && stat.st_mode & 0o1000 == 0;
        if is_link || is_open {
            return Err(BuildFailure::misc(format!(
                "path '{}' is world-writable or a symlink, which is not allowed for build \
                 directories: choose another place with the setting 'build-dir'",
                ancestor.display()
            )));
        }
    }
    Ok(())
}

/// Names of derivations can be as long as a file name may be.
fn shortened(name: &str) -> &str {
    let end = name
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= 100)
        .unwrap_or(name.len());
    &name[..end]
}

/// Whether a name is one that [`BuildPlace::create`] gives; the place may be full of what
/// others made.
pub(crate) fn is_name_of_place(name: &[u8]) -> bool {
    let random = name.rsplit(|byte| *byte == b'-').next();
    random.is_some_and(|random| {
        random.len() < name.len()
            && random.len() == nix32::encoded_len(RANDOM_BYTES)
            && nix32::decode(random).is_ok()
    })
}

fn random_digits() -> Result<String> {
    let mut digest = [0; RANDOM_BYTES];
    getrandom::fill(&mut digest)
        .map_err(|error| BuildFailure::misc(format!("cannot read random bytes: {error}")))?;
    Ok(nix32::encode(&digest))
}

const BUILD: &str = "build";
const TMP: &str = "tmp";
/// Bytes at the end of a build directory's name.
const RANDOM_BYTES: usize = 10;
/// Most directories that are open at a time.
const MAX_DEPTH: usize = 200;

#[cfg(test)]
mod tests;
