//! The last look before the program runs: is everything as it must be?
//!
//! Every step reports its own failure; this finds the step that was forgotten, or undone by
//! a later one.

use std::collections::BTreeSet;
use std::io;

use posix::sys::signal::SigSet;
use posix::unistd::{getresgid, getresuid};
use rustix::fs::{Mode, Stat};
use rustix::process::{Signal, getgroups, parent_process_death_signal, umask};
use rustix::thread::{SecureComputingMode, capabilities, no_new_privs, secure_computing_mode};

use super::error::SandboxError;
use super::plan::{Expected, IdMap};
use super::{ids, mounts, sys};
use crate::config::Layer;

/// Checks the process against what is expected of it. `missing` are the layers that were
/// left out; `root` is the root file system that was made.
pub(super) fn verify(
    expected: &Expected,
    missing: &BTreeSet<Layer>,
    root: Option<&Stat>,
) -> Result<(), SandboxError> {
    check(Layer::Users, "have the ids of the builder", || {
        has_ids(expected)
    })?;
    if let Some(ids) = expected
        .namespace
        .filter(|_| !missing.contains(&Layer::UserNamespace))
    {
        check(Layer::UserNamespace, "be in its user namespace", || {
            is_mapped(&ids)
        })?;
    }
    if !missing.contains(&Layer::Groups) {
        check(Layer::Groups, "be without supplementary groups", || {
            has_groups(expected)
        })?;
    }
    if !missing.contains(&Layer::Capabilities) {
        check(Layer::Capabilities, "be without capabilities", || {
            Ok(!expected.no_capabilities || has_no_capabilities()?)
        })?;
        check(Layer::Capabilities, "have an empty bounding set", || {
            Ok(!expected.no_bounding_set || ids::bounding_set_has().is_none())
        })?;
        check(Layer::Capabilities, "have no_new_privs", || {
            Ok(!expected.no_new_privileges || no_new_privs()?)
        })?;
    }
    if expected.filtered && !missing.contains(&Layer::SyscallFilter) {
        check(
            Layer::SyscallFilter,
            "have a filter of system calls",
            || Ok(secure_computing_mode()? == SecureComputingMode::Filter),
        )?;
    }
    check(Layer::Mounts, "have a root of its own", || {
        match (expected.own_root, root) {
            (true, Some(root)) => mounts::is_root(root),
            (own_root, _) => Ok(!own_root),
        }
    })?;
    check(Layer::Namespaces, "die with its parent", || {
        Ok(parent_process_death_signal()? == Some(Signal::KILL))
    })?;
    check(Layer::Namespaces, "have the umask 022", || {
        Ok(umask(Mode::from_raw_mode(0o022)) == Mode::from_raw_mode(0o022))
    })?;
    check(Layer::Namespaces, "have default signals", || {
        let mask = SigSet::thread_get_mask()?;
        Ok(mask == SigSet::empty() && sys::first_signal_not_default().is_none())
    })
}

fn check(
    layer: Layer,
    what: &'static str,
    is_so: impl FnOnce() -> io::Result<bool>,
) -> Result<(), SandboxError> {
    let error = match is_so() {
        Ok(true) => return Ok(()),
        Ok(false) => io::Error::other("the last check before the start found otherwise"),
        Err(error) => error,
    };
    Err(SandboxError::new(layer, what, error))
}

fn has_ids(expected: &Expected) -> io::Result<bool> {
    let (uid, gid) = (getresuid()?, getresgid()?);
    let uids = [uid.real, uid.effective, uid.saved];
    let gids = [gid.real, gid.effective, gid.saved];
    Ok(uids.iter().all(|id| id.as_raw() == expected.uid)
        && gids.iter().all(|id| id.as_raw() == expected.gid))
}

/// Whether the process's user namespace has these user ids.
fn is_mapped(ids: &IdMap) -> io::Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    let wanted = [ids.inside_uid, ids.host_uid, ids.count].map(|id| id.to_string());
    Ok(map.split_ascii_whitespace().eq(wanted.iter()))
}

fn has_groups(expected: &Expected) -> io::Result<bool> {
    let Some(allowed) = &expected.groups else {
        return Ok(true);
    };
    let groups = getgroups()?;
    Ok(groups.iter().all(|gid| allowed.contains(&gid.as_raw())))
}

fn has_no_capabilities() -> io::Result<bool> {
    let sets = capabilities(None)?;
    // The ambient set is a subset of the permitted and the inheritable one.
    Ok(sets.effective.is_empty() && sets.permitted.is_empty() && sets.inheritable.is_empty())
}
