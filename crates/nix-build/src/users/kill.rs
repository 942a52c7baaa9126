//! Ends all processes of a build's users, from outside of their namespaces.
//!
//! Who signals "all processes" reaches those that it may signal, at one moment: no fork escapes
//! that. So a child process becomes the user and does it. It must be a process: a thread with
//! another user's id would let that user signal this whole process.
//!
//! One of the few modules with `unsafe`: between fork and exit only system calls are safe.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use posix::sys::wait::{WaitStatus, waitpid};
use posix::unistd::{ForkResult, fork};

use super::UsersError;

pub(super) fn kill_processes(uid: u32, count: u32) -> Result<(), UsersError> {
    let users = uid..uid.saturating_add(count);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let living = processes_of(&users)
            .map_err(|error| UsersError::io("list the processes in", "/proc", error))?;
        let Some(&(pid, uid)) = living.first() else {
            return Ok(());
        };
        if Instant::now() > deadline {
            return Err(UsersError::StillRunning { uid, pid });
        }
        for uid in living.iter().map(|(_, uid)| *uid).collect::<BTreeSet<_>>() {
            kill_as(uid)
                .map_err(|error| UsersError::io("kill the processes of", uid.to_string(), error))?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Processes that run as one of these users, the dead ones left out.
fn processes_of(users: &Range<u32>) -> io::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may be gone by now.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
            continue;
        };
        if let Some(uid) = user_among(&status, users) {
            found.push((pid, uid));
        }
    }
    Ok(found)
}

/// The user of a process that isn't dead, if it is one of these.
pub(super) fn user_among(status: &str, users: &Range<u32>) -> Option<u32> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let is_dead = field("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X']));
    let mut ids = field("Uid:")?.split_whitespace();
    let id = ids.find_map(|id| id.parse().ok().filter(|id| users.contains(id)))?;
    (!is_dead).then_some(id)
}

/// Kills everything that `uid` may kill.
fn kill_as(uid: u32) -> io::Result<()> {
    // SAFETY: the child makes system calls only, without memory or locks of its parent, and ends
    // by one.
    match unsafe { fork() }? {
        ForkResult::Child => unsafe { become_and_kill(uid) },
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Err(posix::errno::Errno::EINTR) => {}
                // The user's processes may kill the child: then it is tried again.
                Ok(WaitStatus::Exited(_, 0) | WaitStatus::Signaled(..)) => return Ok(()),
                Ok(WaitStatus::Exited(_, errno)) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        },
    }
}

/// Never returns; the exit code is an error number.
///
/// # Safety
/// Only in a child process without threads.
unsafe fn become_and_kill(uid: u32) -> ! {
    // SAFETY: system calls with numbers. `kill` is reached only as another user than root, and
    // leaves out the calling process.
    unsafe {
        if uid == 0 || libc::syscall(libc::SYS_setresuid, uid, uid, uid) != 0 {
            libc::_exit(libc::EPERM);
        }
        libc::kill(-1, libc::SIGKILL);
        libc::_exit(0)
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
