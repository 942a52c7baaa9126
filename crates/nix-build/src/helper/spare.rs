//! A process in fresh namespaces that waits for the next builder.
//!
//! Making namespaces, a network above all, takes about a fifth of what a small build takes. So
//! while one builder runs, a process for the next is made, of the same kind; it does nothing
//! until it gets a plan. One that isn't wanted for a while is killed.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::{child, protocol};
use crate::config::Layer;
use crate::sandbox::SandboxError;
use crate::sandbox::namespaces::clone_into;
use crate::sandbox::plan::Start;
use crate::sandbox::sys::Cloned;

/// A process that waits for its plan, in new namespaces.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    /// What it listens to.
    pub(super) sync: OwnedFd,
    /// Whether a network namespace was left out that the plan can do without.
    pub(super) is_without_network: bool,
}

impl Fresh {
    /// Makes one.
    pub(super) fn create(start: &Start) -> Result<Self, SandboxError> {
        let failed = |step| move |error| SandboxError::new(Layer::Namespaces, step, error);
        let (sync, other) = protocol::pair().map_err(failed("talk to a new process"))?;
        let (cloned, is_without_network) = clone_into(start)?;
        match cloned {
            Cloned::Child => child::run(other),
            Cloned::Parent { pid, pidfd } => Ok(Self {
                pid,
                pidfd,
                sync,
                is_without_network,
            }),
        }
    }

    /// Whether it hasn't ended, for whatever reason.
    fn is_alive(&self) -> bool {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut ended, Some(&now)), Ok(0))
    }

    /// Ends it; nobody knows of it yet.
    pub(super) fn abandon(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// The process for the next builder, if there is one.
#[derive(Debug, Default)]
pub(super) struct Spare {
    kept: Option<(Start, Fresh, Instant)>,
}

impl Spare {
    /// Makes a process like that of a builder that has just begun. A failure shows when the
    /// next builder really needs one.
    pub(super) fn make(&mut self, start: &Start) {
        if self.kept.is_none()
            && start.namespaces.basic
            && let Ok(fresh) = Fresh::create(start)
        {
            self.kept = Some((*start, fresh, Instant::now()));
        }
    }

    /// The process, if it fits.
    pub(super) fn take(&mut self, start: &Start) -> Option<Fresh> {
        let fits = |kept: &Start| {
            kept.namespaces == start.namespaces
                && kept.accept_host_network == start.accept_host_network
        };
        match self.kept.take() {
            Some((kept, fresh, _)) if fits(&kept) && fresh.is_alive() => Some(fresh),
            Some((_, fresh, _)) => {
                fresh.abandon();
                None
            }
            None => None,
        }
    }

    /// Until when it is kept.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let (.., since) = self.kept.as_ref()?;
        Some(KEPT_FOR.saturating_sub(since.elapsed()))
    }

    /// Ends it if its time is over.
    pub(super) fn expire(&mut self) {
        if self.time_left().is_some_and(|left| left.is_zero())
            && let Some((_, fresh, _)) = self.kept.take()
        {
            fresh.abandon();
        }
    }

    /// Whether `pid` is it.
    pub(super) fn is(&self, pid: i32) -> bool {
        self.kept
            .as_ref()
            .is_some_and(|(_, fresh, _)| fresh.pid == pid)
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some((_, fresh, _)) = self.kept.take() {
            fresh.abandon();
        }
    }
}

/// Builds that follow each other do so sooner.
const KEPT_FOR: Duration = Duration::from_secs(1);
