//! A client that watches a build of another process.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::forward::Forwarder;
use super::limits::LimitWatch;
use super::outcome::BuildOutcome;
use super::owned::{Phase, now};
use super::run_dir::{RunFiles, seconds_now};
use super::wake::Wake;
use super::{Client, Inner, POLL, interrupted};
use crate::cancel::Cancel;
use crate::failure::{BuildFailure, Result};

/// What became of watching.
#[derive(Debug)]
pub(super) enum Watched {
    /// The build has ended.
    Ended(BuildOutcome),
    /// The client has left.
    Left(BuildOutcome),
    /// There is nobody any more who builds.
    OwnerDied,
}

impl Inner {
    /// Watches until the build ends, or the client leaves. Closing the files tells the owner
    /// that it has.
    pub(super) fn watch(
        &self,
        files: RunFiles,
        client: &mut Client<'_>,
        drv: &str,
    ) -> Result<Watched> {
        let mut view = ClientView::new(&files, client)?;
        loop {
            // Before the ending is looked for, so that none is missed.
            let orphaned = {
                let _gate = self.gate()?;
                files.is_orphaned()?
            };
            if let Some(ending) = files.status.read_ending().map_err(unreadable)? {
                view.finish(&files);
                return Ok(Watched::Ended(ending.outcome));
            }
            if orphaned {
                return Ok(Watched::OwnerDied);
            }
            if let Some(left) = view.look(&files, client, drv)? {
                return Ok(Watched::Left(left));
            }
            wait(client.cancel);
        }
    }
}

/// What a client has seen of a build.
#[derive(Debug)]
pub(super) struct ClientView {
    limits: LimitWatch,
    place: u64,
    /// When the builder was started, in nanoseconds of the monotonic clock.
    began: Option<u64>,
    forwarder: Option<Forwarder>,
    pub(super) wake: Arc<Wake>,
}

impl ClientView {
    /// Begins to show the log.
    pub(super) fn new(files: &RunFiles, client: &Client<'_>) -> Result<Self> {
        let wake = Arc::new(Wake::default());
        let forwarder = match &client.log {
            None => None,
            Some(target) => {
                let log = files.log.try_clone().map_err(unreadable)?;
                Some(Forwarder::start(log, Arc::clone(target), Arc::clone(&wake)))
            }
        };
        Ok(Self {
            limits: LimitWatch::new(client.limits, now()),
            place: 0,
            began: None,
            forwarder,
            wake,
        })
    }

    /// Looks at client and build; the outcome for the client if it leaves.
    pub(super) fn look(
        &mut self,
        files: &RunFiles,
        client: &mut Client<'_>,
        drv: &str,
    ) -> Result<Option<BuildOutcome>> {
        let progress = files.status.read_progress().map_err(unreadable)?;
        if progress.phase == Phase::Running {
            self.began = Some(progress.since);
        }
        if client.cancel.is_cancelled() {
            return Ok(Some(self.timed(interrupted()).into()));
        }
        if progress.place != self.place {
            self.place = progress.place;
            if let Ok(place @ 1..) = usize::try_from(progress.place) {
                (client.on_wait)(place);
            }
        }
        let size = log_size(files)?;
        match self.limits.check(progress, size, now()) {
            None => Ok(None),
            Some(exceeded) => {
                self.finish(files);
                Ok(Some(self.timed(exceeded.failure(drv)).into()))
            }
        }
    }

    /// A failure with the time that the build took up to here.
    fn timed(&self, mut failure: BuildFailure) -> BuildFailure {
        failure.times = self.began.map(|began| {
            let second = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
            let took = second(now().saturating_sub(began) / 1_000_000_000);
            let stop = second(seconds_now());
            (stop.saturating_sub(took), stop)
        });
        failure
    }

    /// Shows the rest of the log.
    pub(super) fn finish(&mut self, files: &RunFiles) {
        if let Some(forwarder) = self.forwarder.take() {
            forwarder.finish(log_size(files).unwrap_or(0));
        }
    }
}

fn log_size(files: &RunFiles) -> Result<u64> {
    Ok(files.log.metadata().map_err(unreadable)?.len())
}

fn unreadable(error: std::io::Error) -> BuildFailure {
    BuildFailure::because("cannot follow the build", &error)
}

/// Waits a little, or until the client is gone.
fn wait(cancel: &Cancel) {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: POLL.subsec_nanos().into(),
    };
    let mut fds = [PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN)];
    // An interrupted wait is a shorter one.
    let _ = poll(&mut fds, Some(&timeout));
}
