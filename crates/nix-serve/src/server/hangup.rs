//! Noticing that the client is gone while its build runs.
//!
//! Nobody reads from the client then, so its end is seen by a thread that polls for
//! nothing but the hang-up: bytes that are waiting don't hide it, and don't wake anybody.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix_build::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::ServeError;
use super::input::{SessionInput, Source};

/// Does `work`, which is told by its argument when the client hangs up or the process is
/// to end.
///
/// # Errors
/// It was told so; or the client can't be watched.
pub(super) fn watching<T, S: Source>(
    input: &SessionInput<'_, S>,
    work: impl FnOnce(&Cancel) -> T,
) -> Result<T, ServeError> {
    let cancel = Cancel::new().map_err(ServeError::Watch)?;
    let done = Cancel::new().map_err(ServeError::Watch)?;
    let stop: &AtomicBool = input.stop_flag();
    let client = input.descriptor();
    let result = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("hang-up".into())
            .stack_size(STACK)
            .spawn_scoped(scope, || watch(client, stop, &cancel, &done))
            .map_err(ServeError::Watch)?;
        // Also when the work panics: the scope waits for the thread.
        let _done = CancelOnDrop(&done);
        Ok::<_, ServeError>(work(&cancel))
    })?;
    match cancel.is_cancelled() {
        true => Err(ServeError::Interrupted),
        false => Ok(result),
    }
}

struct CancelOnDrop<'a>(&'a Cancel);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Sets `cancel` when `client` is closed at the other end or `stop` is set; returns when
/// `done` is set.
fn watch(client: Option<BorrowedFd<'_>>, stop: &AtomicBool, cancel: &Cancel, done: &Cancel) {
    while !done.is_cancelled() {
        match is_gone(client, done) {
            Ok(false) if !stop.load(Ordering::Relaxed) => {}
            Ok(_) => return cancel.cancel(),
            Err(error) => {
                tracing::debug!("cannot watch the client: {error}");
                return cancel.cancel();
            }
        }
    }
}

/// Waits a little for the end of `client` or for `done`; true for the former.
fn is_gone(client: Option<BorrowedFd<'_>>, done: &Cancel) -> io::Result<bool> {
    let done_fd = done.as_fd();
    // No event is asked for: hang-ups and errors come unasked.
    let mut fds = vec![PollFd::from_borrowed_fd(done_fd, PollFlags::IN)];
    fds.extend(client.map(|client| PollFd::from_borrowed_fd(client, PollFlags::empty())));
    match poll(&mut fds, Some(&RECHECK)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    Ok(fds.get(1).is_some_and(|client| {
        client
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }))
}

/// How often the flag that signals set is looked at.
const RECHECK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
const STACK: usize = 64 << 10;
