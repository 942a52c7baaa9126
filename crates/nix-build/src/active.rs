//! Joining and lingering: one derivation is built once, however many clients ask for it.
//!
//! Each running build has a directory `STATE/nix-serve/active/<key>`; the key is a digest of
//! everything that decides how the build ends, so that whoever asks for the same finds it.
//!
//! ```text
//! active/gate       flock, held for a few system calls by whoever joins, leaves or ends
//! <key>/owner       flock of the process that builds; free without a result: it died
//! <key>/watchers    shared flock of every client but the owner's own
//! <key>/log         what the builder wrote, byte for byte
//! <key>/status      how far it is, and in the end the result
//! <key>/request     what to build, for a supervisor
//! ```
//!
//! A client that joins opens all files under the gate and uses only these descriptors from
//! then on. So the owner can remove the directory as soon as the build has ended, and nobody
//! who comes later meets half of it. If the owner dies, those who watch start anew: one of
//! them becomes the owner, in new files, and the log is shown again from its start.
//!
//! Limits belong to clients. One whose limit is hit leaves with its failure; the build ends
//! when the last one has left. A process whose own client has left goes on building for the
//! others, so programs call [`Active::wait_background`] before they exit.
//!
//! With a supervisor the build runs in a process of its own, which outlives all clients for
//! the time that it is told, and keeps log and result for as long: those of a success, and
//! those of a failure that no client was there to be told of.
//!
//! Lock order: gate, then owner and watchers. These are only ever tried, and only with the
//! gate held.

mod forward;
mod limits;
mod outcome;
mod own;
mod owned;
mod request_file;
mod run_dir;
mod status;
mod supervise;
mod target;
#[cfg(test)]
mod tests;
mod wake;
mod watch;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix_base::{BuildResult, StoreDir};

pub use limits::Exceeded;
pub use outcome::BuildOutcome;
pub use owned::{OwnedBuild, Phase};
pub use target::LogTarget;

use self::forward::Forwarder;
use self::run_dir::{Joined, RunFiles};
use self::wake::Wake;
use self::watch::Watched;
use crate::cancel::Cancel;
use crate::failure::{BuildFailure, Result};
use crate::request::{BuildLimits, BuildRequest};
use crate::slots::{LockDirectory, LockError};

/// The builds of a store that are running now.
#[derive(Debug, Clone)]
pub struct Active {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: LockDirectory,
    store_dir: StoreDir,
    /// When what is left over was last removed.
    swept: Mutex<Option<Instant>>,
    /// Builds that go on for others.
    background: Mutex<usize>,
    background_ended: Condvar,
}

/// Builds a derivation: called at most once, on a thread of its own, which may outlive the
/// call of [`Active::run`].
pub type Own = Box<dyn FnOnce(&OwnedBuild) -> BuildOutcome + Send + 'static>;

/// One who asks for a build.
pub struct Client<'a> {
    /// On once the client is gone.
    pub cancel: &'a Cancel,
    /// Its bounds, tightened by those of the machine. Those of the request don't count here.
    pub limits: BuildLimits,
    /// Where the log goes, if anywhere.
    pub log: Option<Arc<LogTarget>>,
    /// Starts supervisors, if builds are to go on without clients.
    pub supervisor: Option<&'a SpawnSupervisor<'a>>,
    /// Says whether a success that somebody else reports can be used: keeps its outputs from
    /// collectors, and asks whether they are valid.
    pub accept: &'a dyn Fn(&BuildResult) -> bool,
    /// Told the place in the queue for slots when it changes.
    pub on_wait: &'a mut dyn FnMut(usize),
}

/// Starts a program that calls [`Active::supervise`] with the directory. The descriptor is
/// to be its standard input.
pub type SpawnSupervisor<'a> = dyn Fn(&Path, OwnedFd) -> std::io::Result<Child> + 'a;

impl Active {
    /// The builds of the store whose state is in `state_dir`.
    ///
    /// # Errors
    /// The directory for them can't be made.
    pub fn new(state_dir: &Path, store_dir: &StoreDir) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                root: LockDirectory::create(state_dir, "active")?,
                store_dir: store_dir.clone(),
                swept: Mutex::new(None),
                background: Mutex::new(0),
                background_ended: Condvar::new(),
            }),
        })
    }

    /// Builds, or joins whoever builds the same. The log goes to the client from its start
    /// in any case.
    pub fn run(&self, client: &mut Client<'_>, request: &BuildRequest, own: Own) -> BuildOutcome {
        self.try_run(client, request, own)
            .unwrap_or_else(BuildOutcome::from)
    }

    fn try_run(
        &self,
        client: &mut Client<'_>,
        request: &BuildRequest,
        own: Own,
    ) -> Result<BuildOutcome> {
        let inner = &self.inner;
        let drv = inner.store_dir.print(&request.drv_path);
        let key = request_file::key(&inner.store_dir, request)?;
        let mut supervisor = client.supervisor;
        for _ in 0..MOST_OWNERS {
            let watched = match inner.join(&key, client.cancel)? {
                Joined::Kept { log, ending } => {
                    show(&log, client);
                    Watched::Ended(ending.outcome)
                }
                Joined::Watcher(files) => inner.watch(files, client, &drv)?,
                Joined::Owner(files) => {
                    // A supervisor that dies isn't tried again.
                    let spawned = supervisor
                        .take()
                        .is_some_and(|spawn| inner.hand_over(&files, request, spawn));
                    if !spawned {
                        return inner.own(files, client, &drv, own);
                    }
                    // The lock is the supervisor's now; this is another description of it.
                    let files = inner.reopen(files)?;
                    inner.watch(files, client, &drv)?
                }
            };
            match watched {
                Watched::Left(outcome) => return Ok(outcome),
                Watched::OwnerDied => {}
                Watched::Ended(outcome) if !outcome.is_success() => return Ok(outcome),
                Watched::Ended(outcome) if (client.accept)(&outcome.result) => return Ok(outcome),
                Watched::Ended(_) => inner.forget(&key)?,
            }
        }
        Err(BuildFailure::misc(format!(
            "'{drv}' can't be built: everybody who tried died"
        )))
    }

    /// Removes what dead owners left, and results whose time is over.
    pub(crate) fn sweep(&self) -> Result<()> {
        let _gate = self.inner.gate()?;
        Ok(run_dir::sweep(&self.inner.root)?)
    }

    /// Waits for builds that go on for others. To be called before the program ends.
    pub fn wait_background(&self) {
        let running = lock(&self.inner.background);
        let _ended = self
            .inner
            .background_ended
            .wait_while(running, |running| *running > 0)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

impl Inner {
    /// Takes the gate, whatever happens to clients.
    fn gate(&self) -> Result<File, LockError> {
        let gate = self.root.gate(&|| false)?;
        Ok(gate.expect("it isn't given up"))
    }

    fn join(&self, key: &str, cancel: &Cancel) -> Result<Joined> {
        let gate = self.root.gate(&|| cancel.is_cancelled())?;
        let _gate = gate.ok_or_else(interrupted)?;
        let mut swept = lock(&self.swept);
        if swept.is_none_or(|at| at.elapsed() > SWEEP_EVERY) {
            *swept = Some(Instant::now());
            run_dir::sweep(&self.root)?;
        }
        drop(swept);
        Ok(run_dir::join(&self.root, key)?)
    }

    /// Removes a result that can't be used, unless somebody builds anew already.
    fn forget(&self, key: &str) -> Result<()> {
        let _gate = self.gate()?;
        let dir = self.root.create_dir(key)?;
        // Whoever has ended the build touches the directory no more, even if it holds the
        // lock for another moment.
        if run_dir::has_ended(&dir)? {
            run_dir::remove(&self.root, &dir, key)?;
        }
        Ok(())
    }

    /// Other descriptions of the same files; those here are closed.
    fn reopen(&self, files: RunFiles) -> Result<RunFiles, LockError> {
        let RunFiles {
            dir,
            key,
            watchers,
            log,
            status,
            owner,
        } = files;
        drop(owner);
        Ok(RunFiles {
            owner: dir.open(run_dir::OWNER)?,
            watchers,
            log,
            status,
            key,
            dir,
        })
    }
}

/// Shows a log that is complete.
fn show(log: &File, client: &Client<'_>) {
    if let (Some(target), Ok(log)) = (&client.log, log.try_clone()) {
        let size = log.metadata().map_or(0, |data| data.len());
        Forwarder::start(log, Arc::clone(target), Arc::new(Wake::default())).finish(size);
    }
}

/// What a client that is gone would get.
fn interrupted() -> BuildFailure {
    BuildFailure::misc("interrupted by the user")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<LockError> for BuildFailure {
    fn from(error: LockError) -> Self {
        Self::because("cannot share the build with others", &error)
    }
}

/// How often clients are looked for, and how often those of other processes look at a build.
const POLL: Duration = Duration::from_millis(25);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// So many processes may die building before a client gives up.
const MOST_OWNERS: usize = 20;
