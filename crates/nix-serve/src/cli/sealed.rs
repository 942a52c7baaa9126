//! Servers under a policy know nothing of their environment.
//!
//! `sshd` may be set up to accept variables from clients. Rather than to list which of them
//! some library might look at, such a server gives up all of them before it does anything.
//! What the dynamic loader makes of its own variables comes earlier still; `sshd` doesn't let
//! clients set those unless it was told to.
#![allow(unsafe_code)]

use std::fs;

use anyhow::{Context, bail};

/// Goes on without environment variables.
///
/// # Errors
/// The process has several threads, of which another may be reading a variable.
pub(crate) fn drop_environment() -> anyhow::Result<()> {
    let threads = fs::read_dir(THREADS).with_context(|| format!("cannot list '{THREADS}'"))?;
    if threads.count() != 1 {
        bail!("cannot give up the client's environment: the program has several threads");
    }
    // SAFETY: nobody reads the environment at the same time, as this is the only thread, nor
    // later what was read before: the standard library and this program keep copies.
    let failed = unsafe { libc::clearenv() };
    if failed != 0 {
        bail!("cannot give up the client's environment");
    }
    Ok(())
}

const THREADS: &str = "/proc/self/task";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_to_change_what_other_threads_may_read() {
        // Tests run in threads of their own.
        let error = drop_environment().unwrap_err().to_string();
        assert!(error.contains("several threads"), "{error}");
    }
}
