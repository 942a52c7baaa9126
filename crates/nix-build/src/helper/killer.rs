//! Killing all processes of a user.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use posix::errno::Errno;
use posix::sys::signal::{Signal, kill};
use posix::unistd::Pid;
use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::config::Layer;
use crate::sandbox::SandboxError;
use crate::sandbox::sys::{self, Cloned, clone_process};

/// Starts a process that becomes the user and kills what it may; it exits with 0 when there
/// is nothing left. The others may kill it as well: then it must be started again.
pub(super) fn start(uid: u32) -> Result<(i32, OwnedFd), SandboxError> {
    let failed = |error| {
        SandboxError::new(
            Layer::Users,
            format!("kill the processes of user {uid}"),
            error,
        )
    };
    if uid == 0 || !rustix::process::geteuid().is_root() {
        return Err(failed(std::io::ErrorKind::PermissionDenied.into()));
    }
    match clone_process(0).map_err(failed)? {
        Cloned::Child => sys::exit_now(i32::from(!kill_all(uid))),
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
    }
}

fn kill_all(uid: u32) -> bool {
    let (gid, uid) = (Gid::from_raw(uid), Uid::from_raw(uid));
    let became = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid));
    // Whoever isn't that user must not kill all that there is.
    if became.is_err() || rustix::process::geteuid() != uid || rustix::process::getuid() != uid {
        return false;
    }
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Err(Errno::ESRCH) => return true,
            // Those that are dead but not reaped count as well.
            Ok(()) | Err(Errno::EPERM) => std::thread::sleep(PAUSE),
            Err(_) => return false,
        }
    }
    false
}

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);
