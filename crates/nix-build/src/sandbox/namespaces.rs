//! Creating the namespaces of a builder.

use std::fs;
use std::io;

use libc::c_int;

use super::error::SandboxError;
use super::plan::{IdMap, Namespaces, Start};
use super::sys::{self, Cloned};
use crate::config::Layer;

/// Creates a process in new namespaces. The boolean says whether a network namespace that
/// the plan can do without was left out.
pub(crate) fn clone_into(start: &Start) -> Result<(Cloned, bool), SandboxError> {
    let wanted = start.namespaces;
    let first = sys::clone_process(flags(wanted));
    let error = match first {
        Ok(cloned) => return Ok((cloned, false)),
        Err(error) => error,
    };
    if wanted.network && start.accept_host_network {
        let less = Namespaces {
            network: false,
            ..wanted
        };
        if let Ok(cloned) = sys::clone_process(flags(less)) {
            return Ok((cloned, true));
        }
    }
    Err(explain(wanted, error))
}

/// Writes the ids of the user namespace of the process `pid`.
pub(crate) fn write_ids(pid: i32, ids: &IdMap) -> Result<(), SandboxError> {
    let write = |name: &str, text: String| {
        let path = format!("/proc/{pid}/{name}");
        fs::write(&path, text).map_err(|error| {
            SandboxError::new(
                Layer::UserNamespace,
                "set the ids of the user namespace in",
                error,
            )
            .at(path)
        })
    };
    let IdMap { count, .. } = ids;
    write(
        "uid_map",
        format!("{} {} {count}\n", ids.inside_uid, ids.host_uid),
    )?;
    if *count == 1 {
        write("setgroups", "deny".to_owned())?;
    }
    write(
        "gid_map",
        format!("{} {} {count}\n", ids.inside_gid, ids.host_gid),
    )
}

/// Names the host.
pub(super) fn set_host_name() -> Result<(), SandboxError> {
    rustix::system::sethostname(b"localhost")
        .and_then(|()| rustix::system::setdomainname(b"(none)"))
        .map_err(|e| SandboxError::new(Layer::Namespaces, "set the host name", e))
}

fn flags(namespaces: Namespaces) -> c_int {
    let mut flags = 0;
    if namespaces.basic {
        flags |= libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    }
    if namespaces.network {
        flags |= libc::CLONE_NEWNET;
    }
    if namespaces.user {
        flags |= libc::CLONE_NEWUSER;
    }
    flags
}

/// Finds out which namespace it was that couldn't be created.
fn explain(wanted: Namespaces, error: io::Error) -> SandboxError {
    let kinds = [
        (wanted.user, "user", "user", Layer::UserNamespace),
        (wanted.basic, "mnt", "mount", Layer::Namespaces),
        (wanted.basic, "pid", "process", Layer::Namespaces),
        (wanted.basic, "ipc", "IPC", Layer::Namespaces),
        (wanted.basic, "uts", "host name", Layer::Namespaces),
        (wanted.network, "net", "network", Layer::Network),
    ];
    for (_, file, name, layer) in kinds.into_iter().filter(|(is_wanted, ..)| *is_wanted) {
        if rustix::fs::stat(format!("/proc/self/ns/{file}")).is_err() {
            let step = format!("create a {name} namespace (this kernel has none)");
            return SandboxError::new(layer, step, error);
        }
        let limit = format!("/proc/sys/user/max_{file}_namespaces");
        if fs::read_to_string(&limit).is_ok_and(|text| text.trim() == "0") {
            let step = format!("create a {name} namespace (forbidden by '{limit}')");
            return SandboxError::new(layer, step, error);
        }
    }
    let forbidden = "/proc/sys/kernel/unprivileged_userns_clone";
    if wanted.user && fs::read_to_string(forbidden).is_ok_and(|text| text.trim() == "0") {
        let step = format!("create a user namespace (forbidden by '{forbidden}')");
        return SandboxError::new(Layer::UserNamespace, step, error);
    }
    let layer = match (wanted.user, wanted.basic) {
        (true, _) => Layer::UserNamespace,
        (false, true) => Layer::Namespaces,
        // Without namespaces it is fork that failed.
        (false, false) => return SandboxError::new(Layer::Users, "create a process", error),
    };
    SandboxError::new(layer, "create namespaces", error)
}
