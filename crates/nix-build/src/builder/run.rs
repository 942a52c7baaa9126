//! Watching a builder: its log, its limits, its end.
//!
//! The builder's output is read from a terminal whose other end it has, and handed on as it
//! comes. Nothing here waits for a client. At a limit the build is killed as a whole and the
//! limit is what is reported.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::disk::DiskUse;
use crate::cancel::Cancel;
use crate::config::{Layer, ResourceLimits};
use crate::helper::{Event, ExitStatus, RunningBuild};
use crate::log::LogReader;
use crate::request::BuildLimits;
use crate::sandbox::SandboxError;
use crate::sandbox::cgroup::{BuildCgroup, LimitHit};

/// What a build is watched for.
pub(super) struct Watch<'w> {
    pub(super) limits: BuildLimits,
    pub(super) resources: ResourceLimits,
    /// Whether a success counts as a failure if a limit of resources was reached: a builder
    /// may have noticed, and made something else.
    pub(super) strict: bool,
    pub(super) cgroup: Option<&'w BuildCgroup>,
    /// Directories whose size counts.
    pub(super) disk: Vec<BorrowedFd<'w>>,
    pub(super) cancel: &'w Cancel,
    /// Takes what the builder writes.
    pub(super) log: &'w mut dyn FnMut(&[u8]) -> io::Result<()>,
    /// Done now and then while the builder runs.
    pub(super) now_and_then: &'w dyn Fn(),
    /// Done with the process id before the builder may start.
    pub(super) before_start: &'w mut dyn FnMut(u32) -> Result<(), SandboxError>,
}

/// How a build ended.
#[derive(Debug)]
pub(super) enum End {
    /// The builder ended by itself.
    Exited(ExitStatus),
    /// It was killed at a limit.
    Limit(Limit),
    /// It was killed since nobody wants it any more.
    Cancelled,
    /// The confinement could not be had; nothing ran.
    SetupFailed { layer: Layer, message: String },
    /// The process that runs builders is gone, and the build with it.
    HelperGone,
}

/// A limit that a build was killed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Silence(u64),
    Time(u64),
    LogSize(u64),
    Memory(u64),
    Processes(u64),
    Disk(u64),
}

impl fmt::Display for Limit {
    /// The words behind the derivation's path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence(seconds) => write!(f, "timed out after {seconds} seconds of silence"),
            Self::Time(seconds) => write!(f, "timed out after {seconds} seconds"),
            Self::LogSize(bytes) => {
                write!(
                    f,
                    "killed after writing more than {bytes} bytes of log output"
                )
            }
            Self::Memory(bytes) => {
                write!(f, "killed after using more than {bytes} bytes of memory")
            }
            Self::Processes(count) => {
                write!(f, "killed after starting more than {count} processes")
            }
            Self::Disk(bytes) => write!(f, "killed after writing more than {bytes} bytes to disk"),
        }
    }
}

/// Lets a prepared build go and watches it until nothing of it runs.
pub(super) fn run(
    mut build: RunningBuild,
    terminal: LogReader,
    watch: &mut Watch<'_>,
) -> io::Result<End> {
    rustix::io::ioctl_fionbio(terminal.as_fd(), true)?;
    let mut running = Running {
        terminal: Some(terminal),
        started: Instant::now(),
        last_output: Instant::now(),
        log_bytes: 0,
        buffer: vec![0; BUFFER].into_boxed_slice(),
        next_look: Instant::now() + LOOK_EVERY,
        disk: DiskUse::default(),
    };
    let end = running.until_end(&mut build, watch)?;
    let end = match end {
        // The processes are gone when the helper says so; what they wrote is still there.
        End::Exited(_) => running.drain(watch)?.map_or(end, End::Limit),
        _ => {
            build.kill();
            if let Some(cgroup) = watch.cgroup {
                cgroup.kill().map_err(io::Error::other)?;
            }
            wait_for_end(&mut build);
            end
        }
    };
    // Many limits show as a failure of the builder, a moment before they are looked at.
    Ok(match (end, running.resource_limit(watch, true)) {
        (End::Exited(status), Some(limit)) if watch.strict || status != ExitStatus::Code(0) => {
            End::Limit(limit)
        }
        (end, _) => end,
    })
}

struct Running {
    terminal: Option<LogReader>,
    started: Instant,
    last_output: Instant,
    log_bytes: u64,
    buffer: Box<[u8]>,
    /// When to look at what has to be asked for.
    next_look: Instant,
    disk: DiskUse,
}

impl Running {
    fn until_end(&mut self, build: &mut RunningBuild, watch: &mut Watch<'_>) -> io::Result<End> {
        loop {
            let ready = self.wait(build, watch)?;
            if watch.cancel.is_cancelled() {
                return Ok(End::Cancelled);
            }
            if ready.terminal
                && let Some(limit) = self.read_log(watch)?
            {
                return Ok(End::Limit(limit));
            }
            if ready.control {
                match build.read_event() {
                    Event::Waiting => {
                        let ready = build.pid().map_or(Ok(()), |pid| {
                            watch.cgroup.map_or(Ok(()), |cgroup| cgroup.add(pid))?;
                            (watch.before_start)(pid)
                        });
                        if let Err(error) = ready {
                            return Ok(setup_failed(build, &error));
                        }
                        build.go()?;
                    }
                    Event::Started => {
                        self.started = Instant::now();
                        self.last_output = self.started;
                    }
                    Event::SetupFailed { layer, message } => {
                        return Ok(End::SetupFailed { layer, message });
                    }
                    Event::Exited(status) => return Ok(End::Exited(status)),
                    Event::HelperGone => return Ok(End::HelperGone),
                }
            }
            if let Some(limit) = self
                .time_limit(watch)
                .or_else(|| self.resource_limit(watch, false))
            {
                return Ok(End::Limit(limit));
            }
        }
    }

    fn wait(&self, build: &RunningBuild, watch: &Watch<'_>) -> io::Result<Ready> {
        let (control, cancel) = (build.as_fd(), watch.cancel.as_fd());
        let mut polled = vec![
            PollFd::from_borrowed_fd(control, PollFlags::IN),
            PollFd::from_borrowed_fd(cancel, PollFlags::IN),
        ];
        if let Some(terminal) = &self.terminal {
            polled.push(PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::IN));
        }
        let timeout = self.next_wake(watch).map(|until| {
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Ready {
            control: !polled[0].revents().is_empty(),
            terminal: polled.get(2).is_some_and(|fd| !fd.revents().is_empty()),
        })
    }

    /// When something other than output or an end could happen.
    fn next_wake(&self, watch: &Watch<'_>) -> Option<Instant> {
        let after = |from: Instant, seconds: u64| {
            (seconds > 0).then(|| from.checked_add(Duration::from_secs(seconds)))?
        };
        let looks = watch.cgroup.is_some() || watch.resources.disk.is_some();
        [
            after(self.last_output, watch.limits.max_silent_time),
            after(self.started, watch.limits.timeout),
            looks.then_some(self.next_look),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn time_limit(&self, watch: &Watch<'_>) -> Option<Limit> {
        let BuildLimits {
            max_silent_time,
            timeout,
            ..
        } = watch.limits;
        let over =
            |from: Instant, seconds| seconds > 0 && from.elapsed() >= Duration::from_secs(seconds);
        if over(self.started, timeout) {
            return Some(Limit::Time(timeout));
        }
        over(self.last_output, max_silent_time).then_some(Limit::Silence(max_silent_time))
    }

    fn resource_limit(&mut self, watch: &Watch<'_>, now: bool) -> Option<Limit> {
        if !now && Instant::now() < self.next_look {
            return None;
        }
        let ResourceLimits {
            memory,
            processes,
            disk,
        } = watch.resources;
        (watch.now_and_then)();
        let looked = Instant::now();
        let hit = watch.cgroup.and_then(BuildCgroup::hit);
        let limit = match hit {
            Some(LimitHit::Memory) => Some(Limit::Memory(memory.unwrap_or_default())),
            Some(LimitHit::Processes) => Some(Limit::Processes(processes.unwrap_or_default())),
            None => None,
        };
        let limit = limit.or_else(|| {
            let most = disk?;
            (self.disk.measure(&watch.disk) > most).then_some(Limit::Disk(most))
        });
        // A tree that takes long to walk is walked less often.
        self.next_look = Instant::now() + LOOK_EVERY.max(looked.elapsed() * 10);
        limit
    }

    /// Hands on what is there now, up to a bound, so that ends and limits get their turn.
    fn read_log(&mut self, watch: &mut Watch<'_>) -> io::Result<Option<Limit>> {
        for _ in 0..READS_AT_ONCE {
            let Some(terminal) = &mut self.terminal else {
                return Ok(None);
            };
            let count = match terminal.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A terminal nobody has open any more.
                Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => 0,
                Err(error) => return Err(error),
            };
            if count == 0 {
                self.terminal = None;
                return Ok(None);
            }
            self.last_output = Instant::now();
            self.log_bytes += count as u64;
            let most = watch.limits.max_log_size;
            if most > 0 && self.log_bytes > most {
                // What is within the limit is kept.
                let over = usize::try_from(self.log_bytes - most).unwrap_or(count);
                (watch.log)(&self.buffer[..count.saturating_sub(over)])?;
                return Ok(Some(Limit::LogSize(most)));
            }
            (watch.log)(&self.buffer[..count])?;
        }
        Ok(None)
    }

    /// Reads what is left once nobody writes any more.
    fn drain(&mut self, watch: &mut Watch<'_>) -> io::Result<Option<Limit>> {
        loop {
            let before = self.log_bytes;
            if let Some(limit) = self.read_log(watch)? {
                return Ok(Some(limit));
            }
            if self.terminal.is_none() || self.log_bytes == before {
                return Ok(None);
            }
        }
    }
}

struct Ready {
    control: bool,
    terminal: bool,
}

/// The builder can't be made ready. If it has ended meanwhile, its own reason is the better
/// one: a process that is gone can't be moved anywhere.
fn setup_failed(build: &mut RunningBuild, error: &SandboxError) -> End {
    build.kill();
    if let Event::SetupFailed { layer, message } = build.read_event() {
        return End::SetupFailed { layer, message };
    }
    let crate::sandbox::SetupFailure { layer, message } = error.to_failure();
    End::SetupFailed { layer, message }
}

/// After a kill: until the helper has reaped the build.
fn wait_for_end(build: &mut RunningBuild) {
    while let Event::Waiting | Event::Started = build.read_event() {}
}

/// As much as a terminal holds at most.
const BUFFER: usize = 64 * 1024;
const READS_AT_ONCE: usize = 64;
/// How often limits are looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(250);
