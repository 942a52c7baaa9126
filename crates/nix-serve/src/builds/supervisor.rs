//! Builds that go on when their clients have left: a process of their own does them.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix_build::active::Active;
use nix_build::{BuildConfig, BuildFailure, Builder};
use nix_store_core::StoreConfig;

use super::build_owned;

/// How to start this program as a supervisor; the directory of the build comes last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SupervisorCommand {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
}

impl SupervisorCommand {
    /// Starts the supervisor of the build in `dir`. It has nothing of the client's but the
    /// environment, which settings come from.
    ///
    /// # Errors
    /// The program can't be run.
    pub(super) fn spawn(&self, dir: &Path, stdin: OwnedFd) -> io::Result<Child> {
        Command::new(&self.program)
            .arg0("nix-serve")
            .args(&self.args)
            .arg(dir)
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }
}

/// Does the build in `dir`, until nobody has wanted it for as long as builds linger.
///
/// # Errors
/// The files of the build can't be used, or no build can begin here.
pub(crate) fn supervise(
    config: BuildConfig,
    store_config: StoreConfig,
    dir: &Path,
) -> Result<(), BuildFailure> {
    // Whatever ends the session of the client doesn't end this process. It can only fail in
    // a process that leads its group already, so that nothing is left to be done.
    let _ = rustix::process::setsid();
    let layout = store_config.layout.clone();
    let stores = super::StorePool::new(store_config);
    let linger = config.linger;
    let builder = Builder::new(Arc::new(config), &layout)?;
    let active = Active::new(&layout.state, &layout.store_dir)?;
    active.supervise(dir, linger, |request, build| {
        build_owned(&builder, &stores, request, build)
    })
}
