//! What the kernel has, and what its settings allow.

use std::fs;

use rustix::io::Errno;

use super::probe::{Probed, Step};
use super::{Check, State};
use crate::config::{BuildConfig, Layer, ResourceLimits};
use crate::sandbox::{cgroup, landlock, seccomp};

/// The first one that can bind mount for reading only in one step (`mount_setattr`).
const OLDEST: (u32, u32) = (5, 12);

pub(super) fn version(without: State) -> Check {
    let name = "kernel";
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let found = format!("Linux {release}");
    match parse_release(&release) {
        Some(version) if version < OLDEST => Check::bad(
            name,
            without,
            found,
            format!("run Linux {}.{} or newer", OLDEST.0, OLDEST.1),
        ),
        _ => Check::ok(name, found),
    }
}

pub(super) fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// Namespaces and mounts, from what came of trying them.
pub(super) fn namespaces(probed: &Probed, without: &dyn Fn(Layer) -> State) -> Vec<Check> {
    vec![
        user_namespace(probed, without(Layer::UserNamespace)),
        group_of(
            probed,
            Layer::Namespaces,
            &[
                (Step::Mount, "mount"),
                (Step::Process, "process"),
                (Step::Ipc, "IPC"),
                (Step::HostName, "host name"),
            ],
            "namespaces",
            "allow them: the sysctls user.max_mnt_namespaces, user.max_pid_namespaces, \
             user.max_ipc_namespaces and user.max_uts_namespaces must not be 0, and a container \
             that the server runs in must let it unshare",
            without,
        ),
        group_of(
            probed,
            Layer::Network,
            &[(Step::Network, "network")],
            "namespaces",
            "allow them: the sysctl user.max_net_namespaces must not be 0, and the kernel needs \
             CONFIG_NET_NS",
            without,
        ),
        group_of(
            probed,
            Layer::Mounts,
            &[
                (Step::Private, "private"),
                (Step::Proc, "proc"),
                (Step::Devpts, "devpts"),
                (Step::Tmpfs, "tmpfs"),
            ],
            "mounts",
            "in a container, start it so that nothing is mounted over parts of /proc and that \
             mounting is allowed ('--security-opt unmask=ALL --security-opt seccomp=unconfined' \
             or '--privileged')",
            without,
        ),
    ]
}

fn user_namespace(probed: &Probed, without: State) -> Check {
    let name = Layer::UserNamespace.name();
    let result = probed.of(Step::User).and_then(|()| probed.of(Step::Map));
    let Err(errno) = result else {
        return Check::ok(name, "can be made by this user");
    };
    let found = format!("can't be made by this user: {}", reason(errno));
    Check::bad(name, without, found, user_namespace_fix())
}

fn user_namespace_fix() -> String {
    let is =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return "set the sysctl user.max_user_namespaces to 15000".to_owned();
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "set the sysctl kernel.unprivileged_userns_clone to 1".to_owned();
    }
    if is(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        return "give the program an AppArmor profile with 'userns,', or set the sysctl \
                kernel.apparmor_restrict_unprivileged_userns to 0"
            .to_owned();
    }
    "a kernel with CONFIG_USER_NS is needed; a container that the server runs in must allow \
     unshare"
        .to_owned()
}

fn group_of(
    probed: &Probed,
    layer: Layer,
    steps: &[(Step, &str)],
    what: &str,
    fix: &str,
    without: &dyn Fn(Layer) -> State,
) -> Check {
    let failed: Vec<String> = steps
        .iter()
        .filter_map(|(step, name)| {
            let errno = probed.of(*step).err()?;
            Some(format!("{name} ({})", reason(errno)))
        })
        .collect();
    if failed.is_empty() {
        let names: Vec<&str> = steps.iter().map(|(_, name)| *name).collect();
        return Check::ok(layer.name(), format!("{what}: {}", names.join(", ")));
    }
    let found = format!("{what} that can't be made: {}", failed.join(", "));
    Check::bad(layer.name(), without(layer), found, fix)
}

fn reason(errno: Option<Errno>) -> String {
    match errno {
        Some(errno) => std::io::Error::from(errno).to_string(),
        None => "not tried, something before it failed".to_owned(),
    }
}

pub(super) fn system_call_filter(config: &BuildConfig, without: State) -> Check {
    let name = Layer::SyscallFilter.name();
    if !config.sandbox.filter_syscalls {
        return Check::bad(
            name,
            State::Warning,
            "switched off",
            "set 'filter-syscalls = true'",
        );
    }
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let has = |action| actions.split_whitespace().any(|there| there == action);
    if !seccomp::is_available() {
        let found = format!("none for '{}'", std::env::consts::ARCH);
        let fix = "accept that this layer is missing ('sandbox-accept-missing = syscall-filter')";
        return Check::bad(name, without, found, fix);
    }
    match ["allow", "errno", "kill_process"].into_iter().all(has) {
        true => Check::ok(name, "the kernel filters system calls"),
        false => Check::bad(
            name,
            without,
            "the kernel doesn't filter system calls",
            "run a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// Needed on the host's network only: never a reason not to build.
pub(super) fn landlock() -> Check {
    let name = Layer::Landlock.name();
    match landlock::abi() {
        abi if abi >= landlock::FIRST_ABI_WITH_SCOPES => Check::ok(
            name,
            format!("interface {abi}: abstract sockets and signals can be scoped"),
        ),
        0 => Check::bad(
            name,
            State::Warning,
            "not there, or switched off",
            "run Linux 6.12 or newer, with 'landlock' in the boot parameter 'lsm='",
        ),
        abi => Check::bad(
            name,
            State::Warning,
            format!("interface {abi} has no scopes"),
            "run Linux 6.12 or newer",
        ),
    }
}

/// Tries the limits that are configured, or some.
pub(super) fn control_groups(limits: &ResourceLimits, without: State) -> Check {
    let name = Layer::Cgroups.name();
    let memory = limits.memory.or(Some(1 << 40));
    let processes = limits.processes.or(Some(10_000));
    let missing = |memory, processes| {
        cgroup::describe_missing(&ResourceLimits {
            memory,
            processes,
            disk: None,
        })
    };
    let (no_memory, no_processes) = (missing(memory, None), missing(None, processes));
    let found = match (&no_memory, &no_processes) {
        (None, None) => {
            return Check::ok(name, "memory and the number of processes can be limited");
        }
        (Some(_), None) => "the number of processes can be limited, memory can't",
        (None, Some(_)) => "memory can be limited, the number of processes can't",
        (Some(_), Some(_)) => "neither memory nor the number of processes can be limited",
    };
    let is_wanting = limits.memory.is_some() && no_memory.is_some()
        || limits.processes.is_some() && no_processes.is_some();
    let cause = match no_memory.is_some() && no_processes.is_some() {
        true => missing(memory, processes),
        false => no_memory.or(no_processes),
    };
    Check::bad(
        name,
        if is_wanting { without } else { State::Warning },
        format!("{found}: {}", cause.unwrap_or_default()),
        "run the server in a control group that is delegated to it (as root, or in a systemd \
         unit with 'Delegate=yes', or by 'systemd-run --user --scope -p Delegate=yes')",
    )
}
