//! Whole-file locks: the one file that names `fs2`.
//!
//! Its methods are called in full form, because `std::fs::File` has inherent methods of the same
//! names which would silently win. Both end in `flock(2)`, which is what Nix uses.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// Who else may hold a lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Any number of other shared holders.
    Shared,
    /// Nobody.
    Exclusive,
}

/// How long to wait for a lock that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Never,
    /// Until this moment.
    Until(Instant),
    /// As long as it takes.
    Forever,
}

/// Takes the lock if it can be had now; false if it is busy.
pub(super) fn try_lock(file: &File, mode: LockMode) -> io::Result<bool> {
    let taken = retry(|| match mode {
        LockMode::Shared => fs2::FileExt::try_lock_shared(file),
        LockMode::Exclusive => fs2::FileExt::try_lock_exclusive(file),
    });
    match taken {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock, waiting as `wait` permits; `on_wait` is called once before a wait begins.
/// False if the lock stayed busy.
pub(super) fn lock(
    file: &File,
    mode: LockMode,
    wait: Wait,
    on_wait: impl FnOnce(),
) -> io::Result<bool> {
    if try_lock(file, mode)? {
        return Ok(true);
    }
    match wait {
        Wait::Never => Ok(false),
        Wait::Until(deadline) => {
            on_wait();
            poll(file, mode, deadline)
        }
        Wait::Forever => {
            on_wait();
            retry(|| match mode {
                LockMode::Shared => fs2::FileExt::lock_shared(file),
                LockMode::Exclusive => fs2::FileExt::lock_exclusive(file),
            })?;
            Ok(true)
        }
    }
}

/// Gives the lock back; the file stays open.
pub(super) fn unlock(file: &File) -> io::Result<()> {
    retry(|| fs2::FileExt::unlock(file))
}

/// Tries again and again: `flock` has no time-out, and an alarm would belong to the whole process.
fn poll(file: &File, mode: LockMode, deadline: Instant) -> io::Result<bool> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        std::thread::sleep(pause.min(left));
        if try_lock(file, mode)? {
            return Ok(true);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn retry(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
