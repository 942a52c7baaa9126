//! What dead servers left behind: files of builds that nobody watches any more, and build
//! directories that nobody holds.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix_base::StoreDir;
use nix_nar::fs::remove::remove_tree;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, statat};

use crate::active::Active;
use crate::builder::is_name_of_place;
use crate::failure::{BuildFailure, Result};

/// Removes what dead servers left in the state directory `state` and in `builds`, the
/// directory of their builds; gives the number of build directories removed. Those that
/// were kept on purpose, and those of other programs, stay.
///
/// # Errors
/// A directory can't be read, or a lock can't be had.
pub fn remove_leftovers(state: &Path, builds: &Path, store_dir: &StoreDir) -> Result<u64> {
    if state.join("nix-serve/active").is_dir() {
        Active::new(state, store_dir)?.sweep()?;
    }
    let removed = sweep_builds(builds);
    removed.map_err(|error| {
        let message = format!("cannot clean up '{}': {error}", builds.display());
        BuildFailure::misc(message)
    })
}

fn sweep_builds(builds: &Path) -> rustix::io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = match rustix::fs::open(builds, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(0),
        parent => parent?,
    };
    let mut removed = 0;
    for entry in Dir::read_from(&parent)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_name_of_place(name.to_bytes()) {
            continue;
        }
        let Ok(top) = rustix::fs::openat(&parent, name, flags, Mode::empty()) else {
            continue;
        };
        let stat = fstat(&top)?;
        let is_private = stat.st_mode & 0o7777 == 0o700;
        let is_own = stat.st_uid == rustix::process::geteuid().as_raw();
        // Both directories are in it from its first moments; real Nix's has none for /tmp.
        let is_ours = [c"build", c"tmp"].iter().all(|inner| {
            statat(&top, *inner, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        });
        if !(is_private && is_own && is_ours && is_old(stat.st_mtime)) {
            continue;
        }
        // Its builder's server holds it as long as it lives.
        if flock(&top, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        match remove_tree(parent.as_fd(), name_of(name)) {
            Ok(_) => removed += 1,
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a build directory stays behind"
            ),
        }
    }
    Ok(removed)
}

fn name_of(name: &std::ffi::CStr) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes())
}

/// Whether whoever made a directory at `time` has had the time to lock it.
fn is_old(time: i64) -> bool {
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time).unwrap_or(0));
    made.elapsed().is_ok_and(|age| age > GRACE)
}

const GRACE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use rustix::fs::{CWD, Timespec, Timestamps, utimensat};

    use super::*;

    /// A build directory made a while ago.
    fn make(builds: &Path, name: &str, mode: u32, inner: &[&str]) -> PathBuf {
        let dir = builds.join(name);
        for inner in inner {
            fs::create_dir_all(dir.join(inner)).unwrap();
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        let time = Timespec {
            tv_sec: 1_000_000,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, &dir, &times, AtFlags::empty()).unwrap();
        dir
    }

    #[test]
    fn removes_what_nobody_holds_and_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let builds = state.path().join("builds");
        let both = ["build/deep/er", "tmp"];
        let name = |start: &str| format!("{start}-0123456789abcdfg");
        let dead = make(&builds, &name("dead"), 0o700, &both);
        let kept = make(&builds, &name("kept"), 0o755, &both);
        let theirs = make(&builds, &name("nix-1"), 0o700, &["build"]);
        // What others may make where everybody does.
        let work = make(&builds, "tmp.Xh2V9sPq3a", 0o700, &both);
        let held = make(&builds, &name("held"), 0o700, &both);
        let lock = fs::File::open(&held).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockShared).unwrap();
        let new = make(&builds, &name("new"), 0o700, &both);
        fs::write(new.join("now"), "").unwrap();
        let removed = remove_leftovers(state.path(), &builds, &StoreDir::default()).unwrap();
        assert_eq!(removed, 1);
        let is_there = |dir: &PathBuf| dir.symlink_metadata().is_ok();
        assert!(!is_there(&dead));
        assert!([kept, theirs, work, held, new].iter().all(is_there));
        let none = remove_leftovers(state.path(), &state.path().join("no"), &StoreDir::default());
        assert_eq!(none.unwrap(), 0);
    }
}
