//! The helper's beginning.

use std::io;
use std::os::fd::AsFd;

use posix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::serve::serve;
use crate::sandbox::{seccomp, sys};

/// The helper, whose server is on standard input.
pub(super) fn run() -> io::Result<()> {
    let main = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), MAIN)?;
    // Nothing else that the server had open is any business of this process.
    let main = sys::keep_only(main, MAIN)?;
    be_undisturbed()?;
    // What unconfined builders leave behind becomes a child of this process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    seccomp::prepare();
    serve(&main)
}

/// Away from the server's terminal, signals and directory; with nothing but `main` open.
fn be_undisturbed() -> io::Result<()> {
    let null = openat(
        CWD,
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for number in 0..2 {
        sys::put_at(null.as_fd(), number)?;
    }
    // A process that leads a group already stays where it is.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::chdir("/")?;
    sys::default_signals()?;
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// The number of the descriptor on which the server is.
const MAIN: i32 = 3;
