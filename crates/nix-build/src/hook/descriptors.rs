//! Closing what a hook must not inherit.
//!
//! Every descriptor of ours is closed on exec; those that this process was started with
//! need not be.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has all descriptors but the three standard ones closed when the program is executed.
pub(super) fn close_others(command: &mut Command) {
    let mark_all = || {
        // SAFETY: a system call with plain numbers, which touches no memory. Descriptors
        // only get a flag, so what std has open up to the exec goes on working.
        unsafe {
            libc::syscall(
                libc::SYS_close_range,
                FIRST,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
        }
        // A kernel that can't do it leaves what isn't ours open: no reason to fail.
        Ok(())
    };
    // SAFETY: the closure makes one system call: no allocation, no lock.
    unsafe {
        command.pre_exec(mark_all);
    }
}

/// The first one behind the standard ones.
const FIRST: libc::c_uint = 3;
