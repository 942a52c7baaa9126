//! The process that builds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix_base::BuildStatus;

use super::outcome::BuildOutcome;
use super::owned::OwnedBuild;
use super::run_dir::{self, RunFiles, seconds_now};
use super::status::{Ending, Status};
use super::wake::Wake;
use super::watch::ClientView;
use super::{Client, Inner, Own, POLL, lock};
use crate::cancel::Cancel;
use crate::failure::{BuildFailure, Result};
use crate::request::BuildMode;

/// A build of this process, seen by the thread that looks after clients.
pub(super) struct Running {
    inner: Arc<Inner>,
    files: RunFiles,
    cancel: Cancel,
    wake: Arc<Wake>,
    outcome: Arc<Mutex<Option<BuildOutcome>>>,
    /// Nobody wants it any more, and its directory is gone.
    abandoned: bool,
    keep: Option<Keep>,
}

/// Whether a build goes on without clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) linger: Duration,
    pub(super) mode: BuildMode,
}

impl Inner {
    /// Builds for `client` and all who join. Returns when the build has ended, or when the
    /// client leaves and others stay.
    pub(super) fn own(
        self: &Arc<Self>,
        files: RunFiles,
        client: &mut Client<'_>,
        drv: &str,
        own: Own,
    ) -> Result<BuildOutcome> {
        let mut view = ClientView::new(&files, client)?;
        let (mut running, build) = Running::new(self, files, Arc::clone(&view.wake), None)?;
        let slot = Arc::clone(&running.outcome);
        std::thread::Builder::new()
            .spawn(move || work(build, &slot, own))
            .map_err(|error| BuildFailure::because("cannot start a thread", &error))?;
        loop {
            let seen = running.wake.seen();
            if let Some(outcome) = running.ended() {
                running.end(&outcome)?;
                view.finish(&running.files);
                return Ok(outcome);
            }
            if let Some(left) = view.look(&running.files, client, drv)? {
                drop(view);
                return running.leave(left);
            }
            running.wake.wait(seen, POLL);
        }
    }
}

/// Does the build, and leaves its outcome behind.
pub(super) fn work(
    build: OwnedBuild,
    slot: &Mutex<Option<BuildOutcome>>,
    own: impl FnOnce(&OwnedBuild) -> BuildOutcome,
) {
    let outcome = catch_unwind(AssertUnwindSafe(|| own(&build)));
    let outcome = outcome.unwrap_or_else(|_| BuildFailure::misc("internal error").into());
    *lock(slot) = Some(outcome);
    build.ring();
}

impl Running {
    pub(super) fn new(
        inner: &Arc<Inner>,
        files: RunFiles,
        wake: Arc<Wake>,
        keep: Option<Keep>,
    ) -> Result<(Self, OwnedBuild)> {
        let failed = |error| BuildFailure::because("cannot start the build", &error);
        let cancel = Cancel::new().map_err(failed)?;
        let build = OwnedBuild::new(
            files.log.try_clone().map_err(failed)?,
            files.log_path(),
            Status(files.status.0.try_clone().map_err(failed)?),
            cancel.clone(),
            Arc::clone(&wake),
        );
        let running = Self {
            inner: Arc::clone(inner),
            files,
            cancel,
            wake,
            outcome: Arc::default(),
            abandoned: false,
            keep,
        };
        Ok((running, build))
    }

    pub(super) fn outcome(&self) -> Arc<Mutex<Option<BuildOutcome>>> {
        Arc::clone(&self.outcome)
    }

    fn ended(&self) -> Option<BuildOutcome> {
        lock(&self.outcome).take()
    }

    /// The own client is gone, with `left` as its outcome.
    fn leave(mut self, left: BuildOutcome) -> Result<BuildOutcome> {
        if self.abandon_unless_watched()? {
            let outcome = self.wait_for_others()?;
            // It may have ended just before.
            return Ok(match outcome.is_success() {
                true => outcome,
                false => left,
            });
        }
        let background = Background::new(&self.inner);
        let go_on = move || {
            let _background = background;
            if let Err(failure) = self.wait_for_others() {
                tracing::warn!("{failure}");
            }
        };
        std::thread::Builder::new()
            .spawn(go_on)
            .map_err(|error| BuildFailure::because("cannot start a thread", &error))?;
        Ok(left)
    }

    /// Waits for the end of the build while others watch it, and ends it when they don't.
    pub(super) fn wait_for_others(&mut self) -> Result<BuildOutcome> {
        let linger = self.keep.map_or(Duration::ZERO, |keep| keep.linger);
        let mut last_watched = Instant::now();
        loop {
            let seen = self.wake.seen();
            if let Some(outcome) = self.ended() {
                self.end(&outcome)?;
                return Ok(outcome);
            }
            if !self.abandoned {
                if self.is_watched()? {
                    last_watched = Instant::now();
                } else if last_watched.elapsed() >= linger {
                    self.abandon_unless_watched()?;
                }
            }
            self.wake.wait(seen, POLL);
        }
    }

    fn is_watched(&self) -> Result<bool> {
        let _gate = self.inner.gate()?;
        Ok(self.files.is_watched()?)
    }

    /// Ends the build if nobody watches it. Who asks from now on starts anew.
    fn abandon_unless_watched(&mut self) -> Result<bool> {
        let _gate = self.inner.gate()?;
        if !self.files.is_watched()? {
            self.abandoned = true;
            let removed = run_dir::remove(&self.inner.root, &self.files.dir, &self.files.key);
            self.cancel.cancel();
            removed?;
        }
        Ok(self.abandoned)
    }

    /// Tells all who watch how the build has ended.
    fn end(&mut self, outcome: &BuildOutcome) -> Result<()> {
        if self.abandoned {
            return Ok(());
        }
        let _gate = self.inner.gate()?;
        let kept_until = match self.keep {
            Some(keep) if self.is_worth_keeping(keep, outcome)? => {
                seconds_now().saturating_add(keep.linger.as_secs().max(1))
            }
            _ => 0,
        };
        let ending = Ending {
            outcome: outcome.clone(),
            kept_until,
        };
        // Without it those who watch see an owner that died, and build for themselves.
        if let Err(error) = self.files.status.write_ending(&ending) {
            tracing::warn!("cannot record the result of a build: {error}");
        }
        if kept_until == 0 {
            run_dir::remove(&self.inner.root, &self.files.dir, &self.files.key)?;
        }
        self.abandoned = true;
        Ok(())
    }

    /// A failure that somebody was told of is tried anew, and so is a check.
    fn is_worth_keeping(&self, keep: Keep, outcome: &BuildOutcome) -> Result<bool> {
        let told = self.files.is_watched()?;
        let repeatable = keep.mode == BuildMode::Normal && outcome.is_success();
        let transient = outcome.result.status == BuildStatus::TransientFailure;
        Ok(!transient && (repeatable || !told))
    }
}

impl Drop for Running {
    /// If the clients can't be looked after any more, there is no build.
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Counts a build that goes on for others.
struct Background(Arc<Inner>);

impl Background {
    fn new(inner: &Arc<Inner>) -> Self {
        *lock(&inner.background) += 1;
        Self(Arc::clone(inner))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *lock(&self.0.background) -= 1;
        self.0.background_ended.notify_all();
    }
}
