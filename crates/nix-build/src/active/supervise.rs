//! Builds that outlive their clients, in a process of their own.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::own::{Keep, Running, work};
use super::owned::OwnedBuild;
use super::run_dir::{self, RunFiles};
use super::wake::Wake;
use super::{Active, BuildOutcome, Inner, SpawnSupervisor, request_file};
use crate::failure::{BuildFailure, Result};
use crate::request::BuildRequest;
use crate::slots::LockDirectory;

impl Inner {
    /// Starts a supervisor that takes the build over, watched by the caller; false if there
    /// is none.
    pub(super) fn hand_over(
        &self,
        files: &RunFiles,
        request: &BuildRequest,
        spawn: &SpawnSupervisor<'_>,
    ) -> bool {
        match self.try_hand_over(files, request, spawn) {
            Ok(()) => true,
            Err(failure) => {
                tracing::warn!("the build can't go on without its client: {failure}");
                false
            }
        }
    }

    fn try_hand_over(
        &self,
        files: &RunFiles,
        request: &BuildRequest,
        spawn: &SpawnSupervisor<'_>,
    ) -> Result<()> {
        let failed = |error| BuildFailure::because("cannot start a supervisor", &error);
        let file = files.dir.create_new(run_dir::REQUEST)?;
        request_file::store(&self.store_dir, request, &file)?;
        {
            let _gate = self.gate()?;
            files.watch()?;
        }
        // The lock belongs to the description, which the child inherits.
        let owner = files.owner.try_clone().map_err(failed)?;
        let mut child = spawn(files.dir.path(), owner.into()).map_err(failed)?;
        let reap = move || {
            let _ = child.wait();
        };
        // If it can't be waited for, it is reaped when this process ends.
        let _ = std::thread::Builder::new().spawn(reap);
        Ok(())
    }
}

impl Active {
    /// Builds what the request in `dir` asks for, and goes on until `linger` has passed
    /// without clients; keeps log and result for as long. The process that calls this was
    /// started by a [`SpawnSupervisor`]; it gets a session of its own, and its standard input
    /// is the null device from then on.
    ///
    /// # Errors
    /// The files can't be used.
    pub fn supervise(
        &self,
        dir: &Path,
        linger: Duration,
        own: impl FnOnce(&BuildRequest, &OwnedBuild) -> BuildOutcome + Send,
    ) -> Result<()> {
        let owner = take_standard_input()
            .map_err(|error| BuildFailure::because("cannot take the build over", &error))?;
        self.supervise_as(owner, dir, linger, own)
    }

    /// The same with the owner's lock as a file.
    pub(super) fn supervise_as(
        &self,
        owner: File,
        dir: &Path,
        linger: Duration,
        own: impl FnOnce(&BuildRequest, &OwnedBuild) -> BuildOutcome + Send,
    ) -> Result<()> {
        let key = dir.file_name().and_then(|name| name.to_str());
        let key = key.ok_or_else(|| BuildFailure::misc("the build has no name"))?;
        let dir = LockDirectory::open_path(dir.to_owned())?;
        // Of the description that holds it already, so this tells whether it is the one.
        if !dir.try_lock(&owner, run_dir::OWNER)? {
            return Err(BuildFailure::misc("the build is somebody else's"));
        }
        let file = dir.open_existing(run_dir::REQUEST)?;
        let file = file.ok_or_else(|| BuildFailure::misc("there is no request"))?;
        let request = request_file::load(&self.inner.store_dir, &file)?;
        let files = run_dir::open_files(dir, key, owner)?;
        let keep = Keep {
            linger,
            mode: request.mode,
        };
        let wake = Arc::new(Wake::default());
        let (mut running, build) = Running::new(&self.inner, files, wake, Some(keep))?;
        let slot = running.outcome();
        std::thread::scope(|scope| {
            scope.spawn(|| work(build, &slot, |build| own(&request, build)));
            let ended = running.wait_for_others();
            // Where clients can't be looked after, there is no build.
            drop(running);
            ended.map(drop)
        })
    }
}

/// Takes the lock that was inherited, and leaves the terminal and the caller's session.
fn take_standard_input() -> std::io::Result<File> {
    let owner = std::io::stdin().as_fd().try_clone_to_owned()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    // It fails for the leader of a session, which is alone already.
    let _ = rustix::process::setsid();
    Ok(owner.into())
}
