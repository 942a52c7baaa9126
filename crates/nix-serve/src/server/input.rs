//! The client's bytes, with a say in what happens before waiting for more of them.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{ServeError, ServeOptions};
use crate::proto::ProtoError;

/// Set to end a connection at its next wait.
pub type StopFlag = Arc<AtomicBool>;

/// Where a client's bytes come from.
pub trait Source: Read {
    /// The descriptor to wait on; `None` if reading never blocks.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

impl Source for std::fs::File {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Source for io::PipeReader {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Source for &[u8] {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// What is left of the work to be done before waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// All is done: the wait may take as long as it likes.
    Nothing,
    /// Something can't be done yet: look again soon.
    Later,
}

/// A buffered reader that does what is pending before it would block.
pub(super) struct SessionInput<'h, S> {
    source: S,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    stall_timeout: Duration,
    stop: StopFlag,
    /// Whether a message has begun, so that the client owes us the rest.
    in_message: bool,
    before_wait: Option<&'h dyn Fn() -> io::Result<Pending>>,
    trouble: Cell<Option<Trouble>>,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Stalled,
    Interrupted,
}

impl<'h, S: Source> SessionInput<'h, S> {
    pub(super) fn new(source: S, options: &ServeOptions) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            stall_timeout: options.stall_timeout,
            stop: options.stop.clone(),
            in_message: true,
            before_wait: None,
            trouble: Cell::new(None),
        }
    }

    /// What to do before each wait for the client.
    pub(super) fn before_wait<'n>(
        self,
        action: &'n dyn Fn() -> io::Result<Pending>,
    ) -> SessionInput<'n, S> {
        SessionInput {
            before_wait: Some(action),
            source: self.source,
            buffer: self.buffer,
            start: self.start,
            end: self.end,
            stall_timeout: self.stall_timeout,
            stop: self.stop,
            in_message: self.in_message,
            trouble: self.trouble,
        }
    }

    /// What the client's bytes come through, if reading from it can block.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.source.descriptor()
    }

    /// Set when the process is to end.
    pub(super) fn stop_flag(&self) -> &AtomicBool {
        &self.stop
    }

    /// Tells whether the next byte belongs to a message that has begun.
    pub(super) fn set_in_message(&mut self, in_message: bool) {
        self.in_message = in_message;
    }

    /// The reason behind a failed handshake.
    pub(super) fn explain(&self, source: ProtoError) -> ServeError {
        self.take_trouble().unwrap_or(ServeError::Handshake(source))
    }

    /// Why the last read failed, if it was this reader that gave up.
    pub(super) fn take_trouble(&self) -> Option<ServeError> {
        Some(match self.trouble.take()? {
            Trouble::Stalled => ServeError::Stalled(self.stall_timeout),
            Trouble::Interrupted => ServeError::Interrupted,
        })
    }

    fn fail(&self, trouble: Trouble) -> io::Error {
        self.trouble.set(Some(trouble));
        io::Error::from(io::ErrorKind::TimedOut)
    }

    fn wait(&mut self) -> io::Result<()> {
        let Some(descriptor) = self.source.descriptor() else {
            return Ok(());
        };
        if is_ready(descriptor, Some(Duration::ZERO))? {
            return Ok(());
        }
        let act = || {
            self.before_wait
                .map_or(Ok(Pending::Nothing), |action| action())
        };
        let mut pending = act()?;
        let deadline = self.in_message.then(|| Instant::now() + self.stall_timeout);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.fail(Trouble::Interrupted));
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(self.fail(Trouble::Stalled));
            }
            // A signal between the look at the flag and the wait would be missed: look again
            // now and then.
            let most = match pending {
                Pending::Nothing => RECHECK,
                Pending::Later => SOON,
            };
            let step = left.unwrap_or(most).min(most);
            if is_ready(descriptor, Some(step))? {
                return Ok(());
            }
            if pending == Pending::Later {
                pending = act()?;
            }
        }
    }
}

fn is_ready(descriptor: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    let timeout = timeout.map(|t| Timespec {
        tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    match poll(&mut polled, timeout.as_ref()) {
        // Hang-up and errors count as ready: the read tells which.
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl<S: Source> BufRead for SessionInput<'_, S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.wait()?;
            self.start = 0;
            self.end = 0;
            self.end = loop {
                match self.source.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.end);
    }
}

impl<S: Source> Read for SessionInput<'_, S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(out.len());
        out[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Bytes read at once: as much as a pipe holds by default, four times over for sockets.
const BUFFER: usize = 256 * 1024;
/// How soon work that could not be done is tried again.
const SOON: Duration = Duration::from_millis(1);
/// How often a waiting connection looks whether it should end.
const RECHECK: Duration = Duration::from_secs(2);
