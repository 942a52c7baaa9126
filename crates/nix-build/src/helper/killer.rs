//! Killing all processes of a user.
//!
//! `kill(-1)` reaches all processes that exist at that moment, and those that are being
//! created, but doesn't tell whether there were any. Whether there are some is what
//! `getpriority` tells, which counts the dead ones that nobody has reaped yet as well.

use std::os::fd::OwnedFd;
use std::{fs, io};

use posix::sys::signal::{Signal, kill};
use posix::unistd::Pid;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::getpriority_user;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::config::Layer;
use crate::sandbox::SandboxError;
use crate::sandbox::sys::{self, Cloned, clone_process};

/// The exit code of the process when there is nothing left.
pub(super) const NONE_LEFT: i32 = 0;
/// The exit code when something was killed that may still be there.
pub(super) const LOOK_AGAIN: i32 = 1;
/// The exit code when it couldn't become the user.
const FAILED: i32 = 2;

/// Whether no process has this real user id.
pub(super) fn has_none(uid: u32) -> bool {
    getpriority_user(Uid::from_raw(uid)) == Err(Errno::SRCH)
}

/// Starts a process that becomes the user and kills what it may; with `ignore_dead`, it also
/// finds out whether all that is left is dead. The others may kill it as well.
pub(super) fn start(uid: u32, ignore_dead: bool) -> Result<(i32, OwnedFd), SandboxError> {
    let failed = |error| {
        let step = format!("kill the processes of user {uid}");
        SandboxError::new(Layer::Users, step, error)
    };
    if uid == 0 || !rustix::process::geteuid().is_root() {
        return Err(failed(io::ErrorKind::PermissionDenied.into()));
    }
    match clone_process(0).map_err(failed)? {
        Cloned::Child => sys::exit_now(kill_all(uid, ignore_dead)),
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
    }
}

fn kill_all(uid: u32, ignore_dead: bool) -> i32 {
    let (id, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    let became = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(group, group, group))
        .and_then(|()| set_thread_res_uid(id, id, id));
    // Whoever isn't that user must not kill all that there is.
    let (real, effective) = (rustix::process::getuid(), rustix::process::geteuid());
    if became.is_err() || real != id || effective != id {
        return FAILED;
    }
    if kill(Pid::from_raw(-1), Signal::SIGKILL).is_err() {
        return FAILED;
    }
    match ignore_dead && only_dead(uid) {
        true => NONE_LEFT,
        false => LOOK_AGAIN,
    }
}

/// Whether all processes of the user, but this one, are dead.
fn only_dead(uid: u32) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    let own = std::process::id().to_string();
    entries.flatten().all(|entry| {
        let name = entry.file_name();
        let is_other = name != *own && name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        // One that has vanished is dead.
        let status = is_other.then(|| fs::read_to_string(entry.path().join("status")).ok());
        status
            .flatten()
            .is_none_or(|status| is_dead_or_of_others(&status, uid))
    })
}

fn is_dead_or_of_others(status: &str, uid: u32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let is_dead = field("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X']));
    let uid = uid.to_string();
    let mut ids = field("Uid:").unwrap_or_default().split_ascii_whitespace();
    is_dead || !ids.any(|id| id == uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_dead_and_others() {
        let status = "Name:\tsh\nState:\tS (sleeping)\nUid:\t7\t8\t7\t7\n";
        assert!(!is_dead_or_of_others(status, 7));
        assert!(!is_dead_or_of_others(status, 8));
        assert!(is_dead_or_of_others(status, 9));
        assert!(is_dead_or_of_others(&status.replace("S (", "Z ("), 7));
    }

    #[test]
    fn finds_users_without_processes() {
        assert!(has_none(1_999_999_999));
        assert!(!has_none(rustix::process::getuid().as_raw()));
    }
}
