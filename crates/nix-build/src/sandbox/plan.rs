//! The steps that confine one builder, in order: a pure function of its [`SandboxInput`].
//!
//! As root: the child begins as root in namespaces of its own, builds a root file system,
//! enters it, and only then a user namespace in which it is somebody else. Without
//! privileges the user namespace comes first.
//!
//! The root file system is a tmpfs. The store directory, the build directory and `/tmp` are
//! directories of the disk that the server made for this build; mount points below them are
//! made there, all others in the tmpfs.

mod layout;

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use super::bytes::OsBytes;
pub use super::error::SandboxError;
pub use super::input::{
    Confinement, Identity, Network, NetworkFiles, Program, Rlimits, SandboxInput,
};
use crate::config::Layer;

/// How one builder is started and confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// What its parent must know.
    pub(crate) start: Start,
    /// What its process does before the program, in this order.
    pub(crate) steps: Vec<Step>,
    /// What must be true afterwards.
    pub(crate) expected: Expected,
    /// Layers that are left out where they can't be had.
    pub(crate) accept_missing: BTreeSet<Layer>,
    /// What it runs.
    pub(crate) program: Program,
}

/// How the process of a builder begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    /// The namespaces in which it is created.
    pub(crate) namespaces: Namespaces,
    /// The ids in its user namespace.
    pub(crate) ids: Option<IdMap>,
    /// Whether it can do without a network namespace.
    pub(crate) accept_host_network: bool,
}

/// Namespaces in which a process is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Namespaces {
    /// Mounts, processes, IPC and host name.
    pub(crate) basic: bool,
    /// Network.
    pub(crate) network: bool,
    /// Users, before all others.
    pub(crate) user: bool,
}

/// Ids of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMap {
    /// The first user id inside.
    pub(crate) inside_uid: u32,
    /// The first group id inside.
    pub(crate) inside_gid: u32,
    /// The first user id on the host.
    pub(crate) host_uid: u32,
    /// The first group id on the host.
    pub(crate) host_gid: u32,
    /// How many of each.
    pub(crate) count: u32,
}

/// One step of a builder's process on its way to the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The loopback interface goes up.
    Loopback,
    /// Host name `localhost`, domain name `(none)`.
    HostName,
    /// No mount reaches the host, or comes from it.
    PrivateMounts,
    /// A new tmpfs, mounted on a directory of the host until it becomes the root.
    Root {
        /// That directory.
        on: OsBytes,
        /// Options of the mount.
        options: String,
        /// The owner of what is made in it, if not the process itself.
        owner: Option<(u32, u32)>,
    },
    /// A directory.
    Directory {
        /// Its path.
        path: OsBytes,
        /// Its permissions.
        mode: u32,
    },
    /// A file.
    File {
        /// Its path.
        path: OsBytes,
        /// Its contents.
        contents: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// Its path.
        path: OsBytes,
        /// Where it points.
        target: OsBytes,
    },
    /// Something of the host appears inside.
    Bind(Bind),
    /// A new file system of the kernel's.
    Kernel(KernelFs),
    /// The root becomes read-only.
    SealRoot,
    /// The root becomes the root; the host's is gone.
    Pivot,
    /// The working directory.
    WorkingDirectory(OsBytes),
    /// Bits of personality(2); the second set may be refused.
    Personality(u32, u32),
    /// Bounds; no core dumps unless asked for.
    Limits(Rlimits),
    /// These supplementary groups and no others.
    Groups(Vec<u32>),
    /// There must be no supplementary groups but this one, since they can't be dropped.
    NoGroupsBut(u32),
    /// A user namespace, and, for a range of ids, others that belong to it.
    UserNamespace {
        /// Whether the builder is to be root in it.
        range: bool,
    },
    /// The parent writes the ids of the user namespace and waits for the server's word.
    AwaitGo,
    /// A control group namespace.
    CgroupNamespace,
    /// The bounding set of capabilities becomes empty.
    BoundingSet,
    /// The filter of system calls.
    SyscallFilter {
        /// Without `no_new_privs`.
        allow_new_privileges: bool,
    },
    /// `no_new_privs` without a filter.
    NoNewPrivileges,
    /// User and group ids (real, effective and saved).
    Ids {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// No capabilities.
    NoCapabilities,
    /// Landlock's scopes.
    Scope {
        /// Whether a kernel without them won't do.
        required: bool,
    },
    /// Dies with the parent; after everything that would undo that.
    DeathSignal,
}

/// Something of the host that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// Where on the host.
    pub(crate) source: OsBytes,
    /// Where inside.
    pub(crate) target: OsBytes,
    /// How.
    pub(crate) kind: BindKind,
}

/// How something of the host appears inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BindKind {
    /// A directory made for this build, in which mount points may be made.
    Own,
    /// A store path: read-only, links made again.
    Input,
    /// A device node.
    Device,
    /// A file, read-only.
    File,
    /// Anything, with all that is mounted below.
    Any {
        /// Whether it may be missing.
        optional: bool,
    },
}

/// New file systems of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KernelFs {
    /// `/proc`
    Proc,
    /// `/sys`
    Sys,
    /// `/dev/shm` with this option of its size.
    Shm(String),
    /// `/dev/pts`
    Pts,
}

/// What must be true just before the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// All three user ids.
    pub(crate) uid: u32,
    /// All three group ids.
    pub(crate) gid: u32,
    /// The user namespace.
    pub(crate) namespace: Option<IdMap>,
    /// Supplementary groups, each of which is allowed but needn't be there; `None`: any.
    pub(crate) groups: Option<Vec<u32>>,
    /// Whether the capability sets are empty.
    pub(crate) no_capabilities: bool,
    /// Whether the bounding set is empty.
    pub(crate) no_bounding_set: bool,
    /// Whether `no_new_privs` is set.
    pub(crate) no_new_privileges: bool,
    /// Whether there is a filter of system calls.
    pub(crate) filtered: bool,
    /// Whether the root is the one that was made.
    pub(crate) own_root: bool,
}

/// Whether a builder can be run without `layer`, if the operator accepts that. Without
/// mounts or namespaces it would be at other places, and needs another plan
/// ([`Confinement::None`]).
pub(crate) fn can_do_without(layer: Layer) -> bool {
    !matches!(
        layer,
        Layer::Namespaces | Layer::Mounts | Layer::Users | Layer::Cgroups
    )
}

/// Plans the confinement of one builder.
///
/// # Errors
/// A path that can't be in a sandbox, such as one with `..` or the root itself; an id that
/// isn't for builders.
pub fn plan(input: &SandboxInput<'_>) -> Result<SandboxPlan, SandboxError> {
    check_identity(input)?;
    let confined = input.confinement == Confinement::Full;
    let inside = inside_ids(input);
    let mut steps = Vec::with_capacity(48 + input.inputs.len() + input.paths.len());
    if confined {
        steps.push(Step::HostName);
        layout::push_root(input, &mut steps)?;
        // As late as possible: it waits for a lock that the kernel holds while it clears
        // the network of the build before away.
        if input.network != Network::Host {
            steps.push(Step::Loopback);
        }
        steps.push(Step::WorkingDirectory(
            input.config.build_dir.as_path().into(),
        ));
    } else {
        steps.push(Step::WorkingDirectory(input.host_build.into()));
    }
    push_identity(input, inside, &mut steps);
    Ok(SandboxPlan {
        start: Start {
            namespaces: Namespaces {
                basic: confined,
                network: confined && input.network != Network::Host,
                user: confined && !input.is_root,
            },
            ids: id_map(input, inside),
            accept_host_network: input.config.accept_missing.contains(&Layer::Network),
        },
        steps,
        expected: expected(input, inside),
        accept_missing: input.config.accept_missing.clone(),
        program: input.program.clone(),
    })
}

/// The ids that the builder sees as its own.
fn inside_ids(input: &SandboxInput<'_>) -> (u32, u32) {
    match input.confinement {
        Confinement::None => (input.identity.uid, input.identity.gid),
        Confinement::Full if is_range(input) => (0, 0),
        Confinement::Full => (SANDBOX_UID, SANDBOX_GID),
    }
}

fn id_map(input: &SandboxInput<'_>, (inside_uid, inside_gid): (u32, u32)) -> Option<IdMap> {
    (input.confinement == Confinement::Full).then_some(IdMap {
        inside_uid,
        inside_gid,
        host_uid: input.identity.uid,
        host_gid: input.identity.gid,
        count: input.identity.count,
    })
}

fn is_range(input: &SandboxInput<'_>) -> bool {
    input.identity.count > 1
}

fn check_identity(input: &SandboxInput<'_>) -> Result<(), SandboxError> {
    let identity = &input.identity;
    let end = identity.uid.checked_add(identity.count);
    let gid_end = identity.gid.checked_add(identity.count);
    let possible = identity.count > 0 && end.is_some() && gid_end.is_some();
    // A builder that is root would own its inputs.
    let harmless = !input.is_root || (identity.uid != 0 && identity.gid != 0);
    let in_reach = identity.count == 1 || (input.is_root && input.confinement == Confinement::Full);
    if possible && harmless && in_reach {
        return Ok(());
    }
    Err(SandboxError::new(
        Layer::Users,
        format!(
            "run a builder as user {} and group {} (and {} more)",
            identity.uid,
            identity.gid,
            identity.count.saturating_sub(1)
        ),
        std::io::Error::from(std::io::ErrorKind::InvalidInput),
    ))
}

/// From the finished root to the program: everything that takes rights away.
fn push_identity(input: &SandboxInput<'_>, inside: (u32, u32), steps: &mut Vec<Step>) {
    let config = input.config;
    let confined = input.confinement == Confinement::Full;
    let personality = if input.personality_32 { PER_LINUX32 } else { 0 }
        | if config.impersonate_linux_26 {
            UNAME26
        } else {
            0
        };
    steps.push(Step::Personality(personality, ADDR_NO_RANDOMIZE));
    steps.push(Step::Limits(input.rlimits));
    match (input.is_root, confined) {
        (true, true) => {
            steps.push(Step::Groups(Vec::new()));
            steps.push(Step::UserNamespace {
                range: is_range(input),
            });
        }
        (true, false) => steps.push(Step::Groups(input.identity.groups.clone())),
        (false, true) if config.require_drop_groups => {
            steps.push(Step::NoGroupsBut(input.identity.gid));
        }
        (false, _) => {}
    }
    steps.push(Step::AwaitGo);
    if confined && input.own_cgroup {
        steps.push(Step::CgroupNamespace);
    }
    if !is_range(input) && (confined || input.is_root) {
        steps.push(Step::BoundingSet);
    }
    // Where new privileges are allowed, the filter needs a capability to be loaded.
    if config.filter_syscalls {
        steps.push(Step::SyscallFilter {
            allow_new_privileges: config.allow_new_privileges,
        });
    } else if !config.allow_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    if !confined || input.network == Network::Host {
        steps.push(Step::Scope { required: confined });
    }
    let (uid, gid) = inside;
    steps.push(Step::Ids { uid, gid });
    if !is_range(input) {
        steps.push(Step::NoCapabilities);
    }
    steps.push(Step::DeathSignal);
}

fn expected(input: &SandboxInput<'_>, (uid, gid): (u32, u32)) -> Expected {
    let confined = input.confinement == Confinement::Full;
    Expected {
        uid,
        gid,
        namespace: id_map(input, (uid, gid)),
        groups: match (input.is_root, confined) {
            (true, true) => Some(Vec::new()),
            (true, false) => Some(input.identity.groups.clone()),
            // The caller's own group may be in the list as well.
            (false, true) if input.config.require_drop_groups => Some(vec![gid]),
            (false, _) => None,
        },
        no_capabilities: !is_range(input),
        no_bounding_set: !is_range(input) && (confined || input.is_root),
        no_new_privileges: !input.config.allow_new_privileges,
        filtered: input.config.filter_syscalls,
        own_root: confined,
    }
}

/// The user that a builder is in its namespace.
pub(crate) const SANDBOX_UID: u32 = 1000;
/// The group that a builder is in its namespace.
pub(crate) const SANDBOX_GID: u32 = 100;

// From <linux/personality.h>.
const PER_LINUX32: u32 = 0x0008;
const UNAME26: u32 = 0x0002_0000;
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;

/// Whether `path` is absolute, in normal form, and not the root.
fn is_proper(path: &Path) -> bool {
    use std::path::Component;
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && path.parent().is_some()
        && components.all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests;
