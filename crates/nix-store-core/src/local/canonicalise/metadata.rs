//! Canonical metadata of one object.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::UTIME_OMIT;
use rustix::fs::{AtFlags, Mode, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

/// A failed call, and what it was for.
type Result<T> = std::result::Result<T, (&'static str, Errno)>;

/// Fixes an open file.
pub(super) fn fix_file(file: &OwnedFd) -> Result<()> {
    let stat = examine(file)?;
    let executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
    fix_open(file, &stat, if executable { 0o555 } else { 0o444 })
}

/// Fixes an open directory, whose entries are as they should be.
pub(super) fn fix_directory(dir: &OwnedFd) -> Result<()> {
    let stat = examine(dir)?;
    fix_open(dir, &stat, 0o555)
}

fn fix_open(object: &OwnedFd, stat: &Stat, mode: u32) -> Result<()> {
    remove_attributes(
        rustix::fs::flistxattr_query(object),
        |list| rustix::fs::flistxattr(object, list),
        |name| rustix::fs::fremovexattr(object, name),
    )?;
    if stat.st_uid != geteuid().as_raw() {
        rustix::fs::fchown(object, Some(geteuid()), Some(getegid()))
            .map_err(|e| ("change owner of", e))?;
    }
    // The mode comes from before: a change of owner may have taken bits away, an ACL may
    // have added some.
    rustix::fs::fchmod(object, Mode::from_raw_mode(mode)).map_err(|e| ("change mode of", e))?;
    if !is_canonical_time(stat) {
        rustix::fs::futimens(object, &CANONICAL_TIME).map_err(|e| ("set time of", e))?;
    }
    Ok(())
}

/// Fixes a symbolic link.
pub(super) fn fix_link(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let stat = rustix::fs::statat(dir, name, nofollow).map_err(|e| ("examine", e))?;
    let path = [
        format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(),
        name.to_bytes(),
    ]
    .concat();
    remove_attributes(
        rustix::fs::llistxattr_query(&*path),
        |list| rustix::fs::llistxattr(&*path, list),
        |name| rustix::fs::lremovexattr(&*path, name),
    )?;
    if stat.st_uid != geteuid().as_raw() {
        rustix::fs::chownat(dir, name, Some(geteuid()), Some(getegid()), nofollow)
            .map_err(|e| ("change owner of", e))?;
    }
    if !is_canonical_time(&stat) {
        rustix::fs::utimensat(dir, name, &CANONICAL_TIME, nofollow)
            .map_err(|e| ("set time of", e))?;
    }
    Ok(())
}

fn examine(object: &OwnedFd) -> Result<Stat> {
    rustix::fs::fstat(object).map_err(|e| ("examine", e))
}

fn is_canonical_time(stat: &Stat) -> bool {
    (stat.st_mtime, stat.st_mtime_nsec) == (1, 0)
}

/// Removes all extended attributes, ACLs among them, but for those that the machine itself
/// puts on files.
fn remove_attributes(
    size: rustix::io::Result<usize>,
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    remove: impl Fn(&CStr) -> rustix::io::Result<()>,
) -> Result<()> {
    let size = match size {
        Ok(0) | Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(()),
        size => size.map_err(|e| ("list attributes of", e))?,
    };
    // Nobody else adds attributes meanwhile, so the list has room enough.
    let mut names = vec![0; size];
    let filled = list(&mut names).map_err(|e| ("list attributes of", e))?;
    names.truncate(filled);
    for name in names.split_inclusive(|&b| b == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if IGNORED_ATTRIBUTES.contains(&name.to_bytes()) {
            continue;
        }
        match remove(name) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(e) => return Err(("remove attributes of", e)),
        }
    }
    Ok(())
}

/// What stays: labels of security modules, and ACLs that a network file system makes up.
pub(in crate::local) const IGNORED_ATTRIBUTES: [&[u8]; 3] =
    [b"security.selinux", b"system.nfs4_acl", b"security.csm"];

const CANONICAL_TIME: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT as _,
    },
    last_modification: Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    },
};
