//! Where lines go: a descriptor of the client.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Where lines of logs go, such as standard error. Logs of several builds share one.
///
/// The description behind the descriptor may be shared with other processes, so its flags
/// aren't touched: before each write the descriptor is asked whether it takes any bytes, and
/// then gets no more than any pipe takes at once.
#[derive(Debug)]
pub struct LogTarget {
    fd: OwnedFd,
    writing: Mutex<()>,
    /// The client missed something, and hasn't been told.
    lost: AtomicBool,
}

/// What became of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// So many were taken.
    Bytes(usize),
    /// None were, for now.
    Full,
    /// None ever will be.
    Closed,
}

impl LogTarget {
    /// Lines go to `fd`.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            writing: Mutex::new(()),
            lost: AtomicBool::new(false),
        }
    }

    /// Writes the first lines of `bytes`, which ends with a line, or as much of one as fits;
    /// waits up to `wait` for the client to read.
    pub(super) fn write_some(&self, bytes: &[u8], wait: Duration) -> Written {
        match self.room(wait) {
            Room::Some => {}
            Room::None => return Written::Full,
            Room::Closed => return Written::Closed,
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have filled it.
        match self.room(Duration::ZERO) {
            Room::Some => {}
            Room::None => return Written::Full,
            Room::Closed => return Written::Closed,
        }
        if self.lost.swap(false, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.fd, LOST);
            return Written::Bytes(0);
        }
        match rustix::io::write(&self.fd, piece(bytes)) {
            Ok(count) => Written::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => Written::Full,
            Err(_) => Written::Closed,
        }
    }

    /// Tells the client that it missed something: now if it reads, else before the next
    /// line that it takes.
    pub(super) fn note_loss(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.write_some(b"", Duration::ZERO);
    }

    fn room(&self, wait: Duration) -> Room {
        let timeout = Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(0),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::OUT)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Room::None,
            Ok(_) if fds[0].revents().contains(PollFlags::OUT) => Room::Some,
            Ok(_) => Room::Closed,
            Err(_) => Room::Closed,
        }
    }
}

enum Room {
    Some,
    None,
    Closed,
}

/// As many whole lines as fit, or the start of one that doesn't.
fn piece(bytes: &[u8]) -> &[u8] {
    let Some(first) = bytes.get(..PIPE_BUF) else {
        return bytes;
    };
    match memchr::memrchr(b'\n', first) {
        Some(newline) => &first[..=newline],
        None => first,
    }
}

const PIPE_BUF: usize = 4096;
const LOST: &[u8] = b"note: a part of the log is left out here, as nobody read it\n";
