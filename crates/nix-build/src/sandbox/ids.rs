//! Taking rights from a process: groups, ids, capabilities.

use posix::sched::{CloneFlags, unshare};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::error::SandboxError;
use crate::config::Layer;

type Result<T, E = SandboxError> = std::result::Result<T, E>;

/// Sets the supplementary groups.
pub(super) fn set_groups(groups: &[u32]) -> Result<()> {
    let groups: Vec<_> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)
        .map_err(|e| SandboxError::new(Layer::Groups, "drop supplementary groups", e))
}

/// Refuses supplementary groups other than `own`.
pub(super) fn require_no_groups_but(own: u32) -> Result<()> {
    let step = "drop supplementary groups (only root can; set \
                'require-drop-supplementary-groups' to false to keep them)";
    let fail = |error| SandboxError::new(Layer::Groups, step, error);
    // Groups that the user namespace doesn't know show as the overflow group.
    let groups = rustix::process::getgroups().map_err(fail)?;
    let is_own = |gid: &Gid| [own, super::plan::SANDBOX_GID].contains(&gid.as_raw());
    match groups.iter().all(is_own) {
        true => Ok(()),
        false => Err(fail(Errno::PERM)),
    }
}

/// Enters a new user namespace; with `range`, also new ones that belong to it, of all kinds
/// that don't cost the mounts and the network made so far.
pub(super) fn enter_user_namespace(range: bool) -> Result<()> {
    let mut flags = CloneFlags::CLONE_NEWUSER;
    if range {
        flags |= CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    }
    unshare(flags)
        .map_err(|e| SandboxError::new(Layer::UserNamespace, "create a user namespace", e))
}

/// Makes the process's control group the root of those that it sees.
pub(super) fn enter_cgroup_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWCGROUP)
        .map_err(|e| SandboxError::new(Layer::Cgroups, "create a control group namespace", e))
}

/// Empties the bounding set.
pub(super) fn drop_bounding_set() -> Result<()> {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(error) => {
                let step = "empty the bounding set of capabilities";
                return Err(SandboxError::new(Layer::Capabilities, step, error));
            }
        }
    }
    Ok(())
}

/// The first capability in the bounding set.
pub(super) fn bounding_set_has() -> Option<u32> {
    (0..u64::BITS).find(|bit| {
        capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) == Ok(true)
    })
}

/// Sets real, effective and saved ids.
pub(super) fn set_ids(uid: u32, gid: u32) -> Result<()> {
    let fail = |e| SandboxError::new(Layer::Users, format!("become user {uid}, group {gid}"), e);
    let gid = Gid::from_raw(gid);
    set_thread_res_gid(gid, gid, gid).map_err(fail)?;
    let uid = Uid::from_raw(uid);
    set_thread_res_uid(uid, uid, uid).map_err(fail)
}

/// Empties all capability sets of the process.
pub(super) fn drop_capabilities() -> Result<()> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    clear_ambient_capability_set()
        .and_then(|()| set_capabilities(None, none))
        .map_err(|e| SandboxError::new(Layer::Capabilities, "drop capabilities", e))
}
