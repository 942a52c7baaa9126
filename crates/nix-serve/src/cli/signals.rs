//! SIGINT, SIGTERM and SIGHUP end a command in order: its locks, temporary roots and
//! staging directories are removed by their destructors.
//!
//! A signal sets a flag and makes a pipe readable, and both stay so. Whoever waits for
//! input waits for that pipe as well; whoever works asks [`SignalWatch::check`] now and
//! then. A thread sees to it that the process ends even if neither happens within the
//! grace period.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A signal asked this process to end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
// Nix compat: its words.
#[error("interrupted by the user")]
pub(crate) struct Interrupted;

impl From<Interrupted> for io::Error {
    fn from(interrupted: Interrupted) -> Self {
        // Not the kind `Interrupted`: readers would try again.
        Self::other(interrupted)
    }
}

/// Knows whether a signal came. Clones share what they know.
#[derive(Debug, Clone)]
pub(crate) struct SignalWatch {
    raised: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
    actions: Actions,
}

/// What to do when a signal comes.
#[derive(Clone, Default)]
struct Actions(Arc<Mutex<Vec<Action>>>);

type Action = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Actions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Actions")
    }
}

impl Actions {
    fn lock(&self) -> MutexGuard<'_, Vec<Action>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignalWatch {
    /// Takes over the signals, which set `raised` from now on. The process is killed by
    /// the signal that came if it has not ended [`GRACE`] later, or another one comes.
    pub(crate) fn install(raised: Arc<AtomicBool>) -> io::Result<Self> {
        let (wake, ring) = io::pipe()?;
        let ring = OwnedFd::from(ring);
        for signal in SIGNALS {
            signal_hook::flag::register(signal, Arc::clone(&raised))?;
        }
        let mut signals = Signals::new(SIGNALS)?;
        let actions = Actions::default();
        let pending = actions.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .stack_size(STACK)
            .spawn(move || {
                let Some(first) = signals.forever().next() else {
                    return;
                };
                // Closing the only writing end makes the pipe readable for good.
                drop(ring);
                let actions = std::mem::take(&mut *pending.lock());
                actions.into_iter().for_each(|action| action());
                let deadline = Instant::now() + GRACE;
                // Whoever sends a second signal doesn't want to wait.
                while Instant::now() < deadline && signals.pending().next().is_none() {
                    std::thread::sleep(STEP);
                }
                // It can only fail for signals that can't be handled.
                let _ = signal_hook::low_level::emulate_default_handler(first);
            })?;
        Ok(Self {
            raised,
            wake: Arc::new(wake.into()),
            actions,
        })
    }

    /// Has `action` done on another thread when a signal comes.
    pub(crate) fn on_signal(&self, action: impl FnOnce() + Send + 'static) {
        self.actions.lock().push(Box::new(action));
    }

    /// Fails once a signal came.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        match self.raised.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Interrupted),
        }
    }

    /// Returns when `fd` has something to read or its other end is closed.
    ///
    /// # Errors
    /// A signal came first.
    fn wait_readable(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let mut fds = [
                PollFd::new(&*self.wake, PollFlags::IN),
                PollFd::from_borrowed_fd(fd, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if !fds[0].revents().is_empty() {
                return Err(Interrupted.into());
            }
            // HUP, ERR and NVAL count too: reading tells what is wrong.
            if !fds[1].revents().is_empty() {
                return Ok(());
            }
        }
    }
}

/// Stdin that stops when a signal comes.
#[derive(Debug)]
pub(crate) struct Input {
    file: File,
    watch: SignalWatch,
}

impl Input {
    /// Takes stdin.
    pub(crate) fn of_process(watch: SignalWatch) -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { file, watch })
    }
}

impl Read for Input {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        self.watch.wait_readable(self.file.as_fd())?;
        self.file.read(data)
    }
}

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
/// A server is to be gone five seconds after a signal.
const GRACE: Duration = Duration::from_secs(4);
const STEP: Duration = Duration::from_millis(50);
const STACK: usize = 64 << 10;
