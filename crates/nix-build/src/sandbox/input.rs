//! What a sandbox is planned from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bytes::OsBytes;
use crate::builtin::BuiltinCall;
use crate::config::{SandboxConfig, SandboxPath};

/// All that decides how one builder is confined. Nothing is read from anywhere else.
#[derive(Debug, Clone)]
pub struct SandboxInput<'a> {
    /// What the operator wishes.
    pub config: &'a SandboxConfig,
    /// Whether there is a sandbox at all.
    pub confinement: Confinement,
    /// The network that the builder gets.
    pub network: Network,
    /// As whom it runs.
    pub identity: Identity,
    /// Whether the helper is root on the host.
    pub is_root: bool,
    /// The store directory as the builder sees it.
    pub store_dir: &'a Path,
    /// The directory of the host that appears there: empty, on the store's file system,
    /// mode 1775, group = the builder's. Mount points of inputs are made in it.
    pub host_store: &'a Path,
    /// The directory of the host that appears at `config.build_dir` (without a sandbox: the
    /// working directory), owned by the builder.
    pub host_build: &'a Path,
    /// The directory of the host that appears at `/tmp`, mode 1777.
    pub host_tmp: &'a Path,
    /// Store paths that are visible: (where on the host, where inside). Directories, files
    /// and links; they are read-only.
    pub inputs: &'a [(PathBuf, PathBuf)],
    /// Other paths of the host that are visible (`sandbox-paths` and what hooks added);
    /// sources may be links, which are followed.
    pub paths: &'a [SandboxPath],
    /// Files in `/etc` for builders that have a network.
    pub network_files: NetworkFiles,
    /// Whether `/dev/kvm` is visible, if the machine has it.
    pub kvm: bool,
    /// Whether the builder is a 32-bit program for which this must look like such a machine.
    pub personality_32: bool,
    /// Whether the build has a control group of its own, which is then the root of those
    /// that it sees.
    pub own_cgroup: bool,
    /// Bounds that stand in for control groups.
    pub rlimits: Rlimits,
    /// What to run.
    pub program: Program,
}

/// Whether there is a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// All namespaces.
    Full,
    /// None: only ids, environment, personality, and the filter of system calls.
    None,
}

/// The network of a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Nothing but a loopback interface of its own.
    Isolated,
    /// The host's.
    Host,
    /// A namespace of its own that something outside connects (between
    /// [`Event::Waiting`](crate::helper::Event::Waiting) and
    /// [`go`](crate::helper::RunningBuild::go)).
    Private,
}

/// As whom a builder runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The (first) user id on the host.
    pub uid: u32,
    /// The (first) group id on the host.
    pub gid: u32,
    /// 1, or 65,536: then the builder is root in a range of its own.
    pub count: u32,
    /// Supplementary groups of an unconfined builder.
    pub groups: Vec<u32>,
}

/// What appears in `/etc` if there is a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkFiles {
    /// Files of the host, all links resolved, by their name in `/etc`: `resolv.conf`,
    /// `services`, `hosts`.
    pub files: Vec<(String, PathBuf)>,
    /// Contents of `/etc/resolv.conf`, where the host's doesn't fit.
    pub resolv_conf: Option<Vec<u8>>,
    /// Certificates for `/etc/ssl/certs/ca-certificates.crt`.
    pub ca_bundle: Option<Vec<u8>>,
}

/// Bounds of each process; `None` leaves what the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rlimits {
    /// Bytes in a file.
    pub file_size: Option<u64>,
    /// Processes of the builder's user.
    pub processes: Option<u64>,
    /// Bytes of address space.
    pub address_space: Option<u64>,
}

/// What to run in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A program, which takes the place of the helper's child.
    Exec {
        /// Its path, as seen inside.
        path: OsBytes,
        /// Its arguments, beginning with its name.
        args: Vec<OsBytes>,
        /// Its whole environment.
        env: Vec<(OsBytes, OsBytes)>,
    },
    /// A builtin builder, which runs in the helper's child.
    Builtin(Box<BuiltinCall>),
}
