//! The process that runs builders.
//!
//! A process with threads can't do much between `fork` and `exec`, so a server starts this
//! one, without threads, and asks it for builders. Its end, and that of the server, is the
//! end of all builders.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::config::{HelperProgram, Layer};
use crate::sandbox::plan::SandboxPlan;

/// Acts as the helper if this process was started as one, and never returns then; returns
/// otherwise. To be called before anything else.
pub fn main_if_asked() {}

/// The helper of this process, usable from all threads. Dropping it ends all its builds.
#[derive(Debug)]
pub struct Helper {
    main: OwnedFd,
}

/// A builder that the helper runs. Dropping it kills it, without waiting for that.
#[derive(Debug)]
pub struct RunningBuild {
    control: OwnedFd,
    pid: Option<u32>,
}

/// What happens to a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its process exists and waits for [`RunningBuild::go`]; [`RunningBuild::pid`] is known.
    Waiting,
    /// It is confined, and about to run.
    Started,
    /// It couldn't be confined and doesn't run; nothing of it is left.
    SetupFailed {
        /// The layer that is missing.
        layer: Layer,
        /// The whole message.
        message: String,
    },
    /// It ended, and with it (in a sandbox) all that it had started.
    Exited(ExitStatus),
    /// The helper is gone, and its builders with it.
    HelperGone,
}

/// How a builder ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Helper {
    /// Starts the helper.
    ///
    /// # Errors
    /// The program can't be run, or no descriptor is left.
    pub fn spawn(program: &HelperProgram) -> io::Result<Self> {
        let _ = program;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Begins a build; its standard output and error go to `log`.
    ///
    /// # Errors
    /// The helper is gone, or no descriptor is left.
    pub fn start(&self, plan: &SandboxPlan, log: OwnedFd) -> io::Result<RunningBuild> {
        let _ = (plan, log, &self.main);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Kills all processes of a user and returns when there are none left. Needs root, and
    /// a `uid` that isn't.
    ///
    /// # Errors
    /// The helper is gone, it isn't root, or the processes don't end.
    pub fn kill_uid(&self, uid: u32) -> io::Result<()> {
        let _ = uid;
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl RunningBuild {
    /// The process id on the host, after [`Event::Waiting`].
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Lets the builder start; it is in its control groups, and its network is connected.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn go(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Kills the builder; [`Event::Exited`] follows.
    pub fn kill(&self) {}

    /// Waits for the next event. [`Event::SetupFailed`], [`Event::Exited`] and
    /// [`Event::HelperGone`] are the last one.
    pub fn read_event(&mut self) -> Event {
        Event::HelperGone
    }
}

impl AsFd for RunningBuild {
    /// Readable when there is an event.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}
