//! The process that runs builders.
//!
//! A process with threads can't do much between `fork` and `exec`, so a server starts this
//! one, without threads, and asks it for builders. Its end, and that of the server, is the
//! end of all builders.

mod child;
mod killer;
mod main;
mod protocol;
mod serve;
mod spare;

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::config::{HelperProgram, Layer};
use crate::sandbox::plan::SandboxPlan;
use crate::sandbox::sys;
use protocol::{Order, Report, Request, receive, send};

/// The argument that makes a program the helper.
const ARGUMENT: &str = "__nix-build-helper";

/// Acts as the helper if this process was started as one, and never returns then; returns
/// otherwise. To be called before anything else, in particular before any thread is started.
pub fn main_if_asked() {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_none_or(|argument| argument != ARGUMENT) {
        return;
    }
    let code = match main::run() {
        Ok(()) => 0,
        Err(error) => {
            let text = format!("error: the process that runs builders failed: {error}\n");
            // Nothing reads the events of this process.
            let _ = io::stderr().write_all(text.as_bytes());
            1
        }
    };
    sys::exit_now(code);
}

/// The helper of this process, usable from all threads. Dropping it ends all its builds and
/// waits for that.
#[derive(Debug)]
pub struct Helper {
    /// Closed first when dropped.
    main: Option<OwnedFd>,
    process: Child,
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
    /// The helper is gone, and its builders are being killed.
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
        let (main, other) = protocol::pair()?;
        let process = Command::new(&program.program)
            .arg(ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(other))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self {
            main: Some(main),
            process,
        })
    }

    /// The helper's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Begins a build; its standard output and error go to `log`.
    ///
    /// # Errors
    /// The helper is gone, or no descriptor is left.
    pub fn start(&self, plan: &SandboxPlan, log: OwnedFd) -> io::Result<RunningBuild> {
        let file = protocol::plan_file(plan)?;
        self.request(&Request::Build(plan.start), &[file.as_fd(), log.as_fd()])
    }

    /// Kills all processes of a user and returns when there are none left. Needs root, and
    /// a `uid` that isn't.
    ///
    /// # Errors
    /// The helper is gone, it isn't root, or the processes don't end.
    pub fn kill_uid(&self, uid: u32) -> io::Result<()> {
        for attempt in 0..ATTEMPTS {
            // Dead ones that somebody else doesn't reap are there for ever.
            let ignore_dead = attempt >= ATTEMPTS / 2;
            let mut killer = self.request(&Request::KillUser { uid, ignore_dead }, &[])?;
            match killer.read_event() {
                Event::Exited(ExitStatus::Code(killer::NONE_LEFT)) => return Ok(()),
                // The user's processes may kill the one that is to kill them.
                Event::Exited(ExitStatus::Code(killer::LOOK_AGAIN) | ExitStatus::Signal(_)) => {
                    std::thread::sleep(PAUSE * attempt);
                }
                Event::SetupFailed { message, .. } => return Err(io::Error::other(message)),
                Event::HelperGone => return Err(io::ErrorKind::BrokenPipe.into()),
                Event::Exited(ExitStatus::Code(_)) | Event::Waiting | Event::Started => break,
            }
        }
        let text = format!("the processes of user {uid} can't be killed");
        Err(io::Error::other(text))
    }

    fn request(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<RunningBuild> {
        let main = self.main.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let (control, other) = protocol::pair()?;
        let mut all = vec![other.as_fd()];
        all.extend_from_slice(descriptors);
        send(main.as_fd(), request, &all)?;
        Ok(RunningBuild { control, pid: None })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.main = None;
        let _ = self.process.wait();
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
    /// The order can't be sent. (That there is nobody any more to obey it is no error here:
    /// the next event says why.)
    pub fn go(&self) -> io::Result<()> {
        match send(self.control.as_fd(), &Order::Go, &[]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Kills the builder; [`Event::Exited`] follows.
    pub fn kill(&self) {
        // Whoever is gone has killed it already.
        let _ = send(self.control.as_fd(), &Order::Kill, &[]);
    }

    /// Waits for the next event. [`Event::SetupFailed`], [`Event::Exited`] and
    /// [`Event::HelperGone`] are the last one.
    pub fn read_event(&mut self) -> Event {
        match receive::<Report>(self.control.as_fd()) {
            Ok(Some((Report::Waiting { pid }, _))) => {
                self.pid = Some(pid);
                Event::Waiting
            }
            Ok(Some((Report::Started, _))) => Event::Started,
            Ok(Some((Report::Failed(failure), _))) => Event::SetupFailed {
                layer: failure.layer,
                message: failure.message,
            },
            Ok(Some((Report::Exited(status), _))) => Event::Exited(status),
            Ok(None) | Err(_) => Event::HelperGone,
        }
    }
}

impl AsFd for RunningBuild {
    /// Readable when there is an event.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

/// How often [`Helper::kill_uid`] tries.
const ATTEMPTS: u32 = 40;
/// How much longer it waits after each attempt.
const PAUSE: Duration = Duration::from_millis(1);
