//! What the operator has set up: users, programs, space, devices.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Check, State};
use crate::config::{BuildConfig, BuildUsers, Layer};
use crate::sandbox::{landlock, network};
use crate::users::{UserPool, UsersError};

pub(super) fn users(users: &BuildUsers, state_dir: &Path) -> Check {
    let name = Layer::Users.name();
    let pool = UserPool::new(users, state_dir);
    let taken = pool.as_ref().map_or(Ok(0), UserPool::count_taken);
    match (pool, taken) {
        (Ok(pool), Ok(taken)) => match pool.size() {
            Some(size) => Check::ok(name, format!("{}: {size}, {taken} in use", kind_of(users))),
            None => Check::ok(
                name,
                format!(
                    "builds run as this user ({})",
                    rustix::process::geteuid().as_raw()
                ),
            ),
        },
        (Err(error), _) | (Ok(_), Err(error)) => {
            let fix = users_fix(&error);
            Check::bad(name, State::Missing, error_text(&error), fix)
        }
    }
}

fn kind_of(users: &BuildUsers) -> String {
    match users {
        BuildUsers::Caller => "the calling user".to_owned(),
        BuildUsers::Group(group) => format!("members of the group '{group}'"),
        BuildUsers::Automatic { start, count } => {
            let last = start.saturating_add(count.saturating_sub(1));
            format!("slots of the user ids {start} to {last}")
        }
    }
}

fn users_fix(error: &UsersError) -> &'static str {
    match error {
        UsersError::NoSuchGroup(_) | UsersError::NoMembers(_) | UsersError::NoAccounts(..) => {
            "make the group and accounts in it ('groupadd -r nixbld; useradd -r -g nixbld -G \
             nixbld -d /var/empty -s /sbin/nologin nixbld1' and so on), or leave \
             'build-users-group' empty"
        }
        UsersError::ServerIsMember(_) => "take this user out of the group",
        UsersError::RangeTooSmall { .. } | UsersError::RangeInvalid { .. } => {
            "leave 'start-id' and 'id-count' at their defaults"
        }
        UsersError::NotRoot => {
            "run the server as root, or with neither 'build-users-group' nor \
             'auto-allocate-uids', and builds run as its own user"
        }
        UsersError::Root => "set 'build-users-group', or 'auto-allocate-uids = true'",
        UsersError::UnsafeDirectory { .. } => "make it root's, with mode 0755",
        _ => "look at the cause; the state directory must be writable",
    }
}

/// Groups that an unprivileged server can't take from builders.
pub(super) fn supplementary_groups(config: &BuildConfig) -> Check {
    let name = Layer::Groups.name();
    if rustix::process::geteuid().is_root() {
        return Check::ok(name, "dropped before builds");
    }
    let own = rustix::process::getegid();
    let groups = rustix::process::getgroups().unwrap_or_default();
    let others: Vec<String> = groups
        .into_iter()
        .filter(|group| *group != own)
        .map(|group| group.as_raw().to_string())
        .collect();
    if others.is_empty() {
        return Check::ok(name, "this user has none");
    }
    let state = match config.sandbox.require_drop_groups {
        true => super::state_without(config, Layer::Groups),
        false => State::Warning,
    };
    Check::bad(
        name,
        state,
        format!("builders would keep the groups {}", others.join(", ")),
        "run the server as a user without supplementary groups, or as root, or set \
         'require-drop-supplementary-groups = false'",
    )
}

pub(super) fn fixed_output_network(config: &BuildConfig, without: State) -> Check {
    let name = "fixed-output-network";
    let path = config.environment.get(std::ffi::OsStr::new("PATH"));
    let private = network::PrivateNetwork::find(path.map(std::ffi::OsString::as_os_str));
    let found = match &private {
        Some(private) => format!("private, by '{}'", private.program().display()),
        None => "none".to_owned(),
    };
    let install = "install 'pasta' (package 'passt'), and let this user open '/dev/net/tun' (mode \
                   0666, as udev makes it)";
    match network::choose(config.sandbox.network, private, landlock::is_available()) {
        Ok((network::NetworkChoice::Host { .. }, None)) => Check::ok(name, "the host's"),
        Ok((_, None)) => Check::ok(name, found),
        Ok((_, Some(warning))) => Check::bad(name, State::Warning, warning, install),
        Err(error) => Check::bad(name, without, error.to_string(), install),
    }
}

/// The program that runs builders.
pub(super) fn helper(config: &BuildConfig) -> Check {
    let name = "helper";
    let program = &config.helper.program;
    match fs::metadata(program) {
        Ok(metadata) if metadata.is_file() => Check::ok(name, program.display().to_string()),
        Ok(_) => not_a_program(name, program, "it isn't a file"),
        Err(error) => not_a_program(name, program, &error.to_string()),
    }
}

fn not_a_program(name: &'static str, program: &Path, why: &str) -> Check {
    Check::bad(
        name,
        State::Missing,
        format!("'{}' can't be run: {why}", program.display()),
        "mount /proc, or install the server anew",
    )
}

/// The disks of store and build directories.
pub(super) fn disks(config: &BuildConfig, state_dir: &Path, store_dir: &Path) -> Vec<Check> {
    let builds = config
        .build_dir
        .clone()
        .unwrap_or_else(|| state_dir.join("builds"));
    vec![disk("store-space", store_dir), disk("build-space", &builds)]
}

fn disk(name: &'static str, dir: &Path) -> Check {
    let Some((dir, space)) = nearest(dir) else {
        return Check::bad(
            name,
            State::Missing,
            format!("'{}' can't be looked at", dir.display()),
            "make it, for the server's user",
        );
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let found = format!("{} MiB free at '{}'", free >> 20, dir.display());
    let fix = "make room: collect garbage, or use another disk";
    if space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let found = format!("'{}' is on a read-only file system", dir.display());
        return Check::bad(name, State::Missing, found, "mount it for writing");
    }
    match free {
        TOO_LITTLE.. if space.f_files > 0 && space.f_favail < FEW_FILES => {
            let found = format!("{found}, room for {} files only", space.f_favail);
            Check::bad(name, State::Warning, found, fix)
        }
        LITTLE.. => Check::ok(name, found),
        TOO_LITTLE.. => Check::bad(name, State::Warning, found, fix),
        _ => Check::bad(name, State::Missing, found, fix),
    }
}

/// The directory, or the nearest one above that is there.
fn nearest(dir: &Path) -> Option<(PathBuf, rustix::fs::StatVfs)> {
    dir.ancestors()
        .find_map(|dir| Some((dir.to_owned(), rustix::fs::statvfs(dir).ok()?)))
}

/// Below this Nix says that builds fail for want of space.
const TOO_LITTLE: u64 = 8 << 20;
const LITTLE: u64 = 1 << 30;
const FEW_FILES: u64 = 10_000;

/// Whether the kernel runs what the configuration promises.
pub(super) fn other_platforms(config: &BuildConfig) -> Option<Check> {
    let name = "32-bit";
    let is_promised = config.extra_platforms.contains("i686-linux");
    if std::env::consts::ARCH != "x86_64" {
        return None;
    }
    let is_there = fs::symlink_metadata("/proc/sys/abi/vsyscall32").is_ok();
    Some(match (is_there, is_promised) {
        (true, true) => Check::ok(name, "programs of i686 run"),
        (true, false) => Check::ok(
            name,
            "programs of i686 run; 'extra-platforms' doesn't say so",
        ),
        (false, false) => Check::ok(name, "programs of i686 don't run"),
        (false, true) => Check::bad(
            name,
            State::Warning,
            "programs of i686 don't run, but 'extra-platforms' has 'i686-linux'",
            "run a kernel with CONFIG_IA32_EMULATION (boot parameter 'ia32_emulation=on'), or \
             set 'extra-platforms' to what there is",
        ),
    })
}

pub(super) fn kvm(config: &BuildConfig) -> Check {
    let name = "kvm";
    let is_promised = config.system_features.contains("kvm");
    match (fs::symlink_metadata("/dev/kvm").is_ok(), is_promised) {
        (true, true) => Check::ok(name, "'/dev/kvm' is there"),
        (true, false) => Check::ok(
            name,
            "'/dev/kvm' is there; 'system-features' doesn't say so",
        ),
        (false, false) => Check::ok(name, "not there, and not promised"),
        (false, true) => Check::bad(
            name,
            State::Warning,
            "'system-features' has 'kvm', but there is no '/dev/kvm'",
            "load the module 'kvm_intel' or 'kvm_amd', or take 'kvm' out of 'system-features'",
        ),
    }
}

fn error_text(error: &UsersError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
