//! Raw descriptors as the two ends of an archive: contents of large files are
//! moved inside the kernel (`sendfile`, `splice`) where it knows a way.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat, sendfile};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};

use super::dump::Output;

/// A descriptor that an archive is written to.
pub(crate) struct FdOut<'a> {
    fd: BorrowedFd<'a>,
    /// Whether the kernel has not refused `sendfile` so far.
    direct: bool,
}

impl<'a> FdOut<'a> {
    pub(crate) fn new(fd: BorrowedFd<'a>) -> Self {
        enlarge(fd);
        Self { fd, direct: true }
    }
}

impl Write for FdOut<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        retry(self.fd, PollFlags::OUT, || rustix::io::write(self.fd, data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for FdOut<'_> {
    fn transfer(&mut self, file: BorrowedFd<'_>, most: u64) -> io::Result<Option<u64>> {
        if !self.direct {
            return Ok(None);
        }
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(STEP);
        match retry(self.fd, PollFlags::OUT, || {
            sendfile(self.fd, file, None, count)
        }) {
            Ok(n) => Ok(Some(n as u64)),
            Err(e) if is_refusal(&e) => {
                self.direct = false;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// A descriptor that an archive is read from, through a buffer.
pub(crate) struct FdIn<'a> {
    fd: BorrowedFd<'a>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Whether the kernel has not refused `splice` so far.
    direct: bool,
}

impl<'a> FdIn<'a> {
    pub(crate) fn new(fd: BorrowedFd<'a>) -> Self {
        enlarge(fd);
        // From a file, the kernel's own way costs as much as a copy through a
        // buffer that stays in the cache; from a pipe it saves one of two copies.
        let direct = fstat(fd).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo);
        Self {
            fd,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            direct,
        }
    }

    /// Moves up to `most` bytes into `file`; `None` if bytes are in the buffer
    /// or there is no way around it, 0 at the end of the input.
    pub(crate) fn transfer(&mut self, file: BorrowedFd<'_>, most: u64) -> io::Result<Option<u64>> {
        if self.start < self.end || !self.direct {
            return Ok(None);
        }
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(STEP);
        let moved = retry(self.fd, PollFlags::IN, || {
            splice(self.fd, None, file, None, count, SpliceFlags::MOVE)
        });
        match moved {
            Ok(n) => Ok(Some(n as u64)),
            Err(e) if is_refusal(&e) => {
                self.direct = false;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

impl Read for FdIn<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let buffered = self.fill_buf()?;
        let n = buffered.len().min(out.len());
        out[..n].copy_from_slice(&buffered[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for FdIn<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            let (fd, buffer) = (self.fd, &mut self.buffer);
            self.end = retry(fd, PollFlags::IN, || rustix::io::read(fd, &mut buffer[..]))?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }
}

/// Asks for a larger pipe. Fewer switches between the two ends; no harm if refused.
fn enlarge(fd: BorrowedFd<'_>) {
    let _ = fcntl_setpipe_size(fd, PIPE);
}

/// Repeats a call that was interrupted, and waits where the descriptor is set not to.
fn retry(
    fd: BorrowedFd<'_>,
    wait_for: PollFlags,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                match poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), wait_for)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            other => return Ok(other?),
        }
    }
}

/// Whether the kernel cannot move data between these two, as opposed to a failure.
fn is_refusal(e: &io::Error) -> bool {
    let code = e.raw_os_error();
    [
        Errno::INVAL,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::BADF,
        Errno::SPIPE,
    ]
    .iter()
    .any(|errno| code == Some(errno.raw_os_error()))
}

const BUFFER: usize = 128 * 1024;

/// The largest pipe that needs no privilege.
const PIPE: usize = 1024 * 1024;

/// The most bytes moved by one call, so that signals and errors come through.
const STEP: usize = 8 * 1024 * 1024;
