//! The network of builds that may use one: fixed-output and impure ones (SEC-45).
//!
//! Such a build gets a network namespace of its own too, which `pasta`, a network stack that runs
//! as an ordinary program, connects to the outside: it passes on what the build sends as the
//! traffic of a process of the host would. Ports of the host's loopback interface can't be
//! reached through it, nor ports of the build from outside.
//!
//! Without the program the build shares the host's namespace, if the operator lets it.

mod pasta;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub use pasta::RunningNetwork;

use rustix::fs::Access;

use super::SandboxError;
use crate::config::{FixedOutputNetwork, Layer};

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
    /// The host's namespace.
    Host {
        /// Whether [`landlock::scope`](super::landlock::scope) is to be applied.
        scoped: bool,
    },
}

impl PrivateNetwork {
    /// The program, in the directories of `search_path` (as in `PATH`), or where programs usually
    /// are; `None` also if this user may not open the device that it needs.
    #[must_use]
    pub fn find(search_path: Option<&OsStr>) -> Option<Self> {
        if rustix::fs::access(DEVICE, Access::READ_OK | Access::WRITE_OK).is_err() {
            return None;
        }
        let given = search_path.into_iter().flat_map(std::env::split_paths);
        let usual = USUAL_PLACES.iter().map(PathBuf::from);
        given
            .chain(usual)
            // A relative directory would be another one in each working directory.
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join("pasta"))
            .find(|program| is_program(program))
            .map(|program| Self { program })
    }

    /// Where the program is.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// `/etc/resolv.conf` for a connected build, made from the host's: questions go to the stack,
    /// which asks the host's resolver. That one is often on the loopback interface, which the
    /// build can't reach.
    #[must_use]
    pub fn resolv_conf(host: &str) -> String {
        let others = host
            .lines()
            .filter(|line| line.split_whitespace().next() != Some("nameserver"));
        let mut text = format!("nameserver {}\n", pasta::RESOLVER);
        for line in others {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Connects the network namespace of the process `pid`, and returns when it is usable.
    ///
    /// The process must be in its namespaces, and wait there. The stack is killed when the
    /// returned value is dropped, and when the calling thread ends.
    ///
    /// # Errors
    /// The program fails; the message has its words.
    pub fn start(&self, pid: u32) -> Result<RunningNetwork, SandboxError> {
        pasta::start(&self.program, pid).map_err(|error| {
            SandboxError::new(Layer::Network, "connect a private network by", error)
                .at(&self.program)
        })
    }
}

/// What a build that may use a network gets, and what the operator is to be told about it.
///
/// # Errors
/// A private network is demanded, and there is no program for it.
pub fn choose(
    wanted: FixedOutputNetwork,
    private: Option<PrivateNetwork>,
    has_landlock: bool,
) -> Result<(NetworkChoice, Option<String>), SandboxError> {
    let host = NetworkChoice::Host {
        scoped: has_landlock,
    };
    match (wanted, private) {
        (FixedOutputNetwork::Off, _) => Ok((NetworkChoice::None, None)),
        (FixedOutputNetwork::Auto | FixedOutputNetwork::Private, Some(private)) => {
            Ok((NetworkChoice::Private(private), None))
        }
        (FixedOutputNetwork::Private, None) => Err(SandboxError::new(
            Layer::Network,
            "find the program 'pasta' and open '/dev/net/tun', which 'fixed-output-network = \
             private' needs",
            io::ErrorKind::NotFound,
        )),
        (FixedOutputNetwork::Auto, None) => Ok((host, Some(shared_warning(has_landlock)))),
        // The operator asked for it: nothing to be told unless a protection is missing.
        (FixedOutputNetwork::Host, _) if has_landlock => Ok((host, None)),
        (FixedOutputNetwork::Host, _) => Ok((host, Some(shared_warning(false)))),
    }
}

/// Tells the operator, once in the life of this process.
pub fn warn_once(warning: &str) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        tracing::warn!("{warning}");
    }
}

fn shared_warning(has_landlock: bool) -> String {
    let reach = match has_landlock {
        true => {
            "they can't connect to abstract sockets of other processes, but other processes can \
             still connect to theirs"
        }
        false => {
            "they can connect to abstract sockets of other processes, and be connected to \
             (Landlock's scopes, Linux 6.12, prevent the former)"
        }
    };
    format!(
        "fixed-output builds share the network of this machine, services on its loopback \
         interface included, and {reach}; with 'pasta' (package 'passt') and \
         access to '{DEVICE}' they have networks of their own"
    )
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What a user-mode network stack passes packets through.
const DEVICE: &str = "/dev/net/tun";

/// Where programs are if nobody says.
const USUAL_PLACES: [&str; 5] = [
    "/run/current-system/sw/bin",
    "/nix/var/nix/profiles/default/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
];
