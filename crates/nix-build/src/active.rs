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
//! them becomes the owner, in new files.
//!
//! Limits belong to clients. One whose limit is hit leaves with its failure; the build ends
//! when the last one has left. A process whose own client has left goes on building for the
//! others, so programs call [`Active::wait_background`] before they exit.
//!
//! Lock order: gate, then owner and watchers, which are only ever tried.

mod outcome;
mod owned;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;

use nix_base::{BuildResult, StoreDir};

pub use outcome::BuildOutcome;
pub use owned::{OwnedBuild, Phase};

use crate::cancel::Cancel;
use crate::failure::BuildFailure;
use crate::request::{BuildLimits, BuildRequest};

/// The builds of a store that are running now.
#[derive(Debug, Clone)]
pub struct Active {
    #[expect(dead_code, reason = "read once builds are joined")]
    inner: Arc<Inner>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "read once builds are joined")]
struct Inner {
    state_dir: PathBuf,
    store_dir: StoreDir,
}

/// Builds a derivation: called at most once, on a thread of its own, which may outlive the
/// call of [`Active::run`].
pub type Own = Box<dyn FnOnce(&OwnedBuild) -> BuildOutcome + Send + 'static>;

/// One who asks for a build.
pub struct Client<'a> {
    /// On once the client is gone.
    pub cancel: &'a Cancel,
    /// Its bounds, tightened by those of the machine.
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

/// Where lines of logs go: a descriptor of the client, such as standard error.
#[derive(Debug)]
pub struct LogTarget {
    #[expect(dead_code, reason = "written to once logs are forwarded")]
    fd: OwnedFd,
}

impl LogTarget {
    /// Lines go to `fd`, whose description may be shared with others.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl Active {
    /// The builds of the store whose state is in `state_dir`.
    ///
    /// # Errors
    /// The directory for them can't be made.
    pub fn new(state_dir: &Path, store_dir: &StoreDir) -> Result<Self, BuildFailure> {
        Ok(Self {
            inner: Arc::new(Inner {
                state_dir: state_dir.to_owned(),
                store_dir: store_dir.clone(),
            }),
        })
    }

    /// Builds, or joins whoever builds the same.
    pub fn run(&self, client: &mut Client<'_>, request: &BuildRequest, own: Own) -> BuildOutcome {
        let _ = (client, request, own);
        BuildFailure::misc("not joined yet").into()
    }

    /// Builds what the request in `dir` asks for, until `linger` has passed without clients.
    /// The process that calls this was started by a [`SpawnSupervisor`].
    ///
    /// # Errors
    /// The files can't be used.
    pub fn supervise(
        &self,
        dir: &Path,
        linger: std::time::Duration,
        own: impl FnOnce(&BuildRequest, &OwnedBuild) -> BuildOutcome + Send,
    ) -> Result<(), BuildFailure> {
        let _ = (dir, linger, own);
        Ok(())
    }

    /// Waits for builds that go on for others. To be called before the program ends.
    pub fn wait_background(&self) {}
}
