//! Tries out namespaces and mounts, in a child process that ends with them.
//!
//! One of the few modules with `unsafe`: the child is made by fork, and until its end makes
//! system calls only.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use posix::sys::wait::waitpid;
use posix::unistd::{ForkResult, fork};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::pipe::PipeFlags;
use rustix::thread::UnshareFlags;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    /// A user namespace.
    User,
    /// Mapping the own user into it.
    Map,
    /// The other namespaces.
    Mount,
    Ipc,
    HostName,
    Network,
    Process,
    /// Keeping mounts from the host.
    Private,
    /// Mounting the file systems of a sandbox.
    Proc,
    Devpts,
    Tmpfs,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::User,
        Self::Map,
        Self::Mount,
        Self::Ipc,
        Self::HostName,
        Self::Network,
        Self::Process,
        Self::Private,
        Self::Proc,
        Self::Devpts,
        Self::Tmpfs,
    ];
}

/// What came of it, step by step.
#[derive(Debug, Default)]
pub(super) struct Probed {
    results: Vec<(Step, Result<(), Errno>)>,
}

impl Probed {
    /// The result of a step: not tried counts as failed without a reason.
    pub(super) fn of(&self, step: Step) -> Result<(), Option<Errno>> {
        let found = self.results.iter().find(|(tried, _)| *tried == step);
        found.map_or(Err(None), |(_, result)| result.map_err(Some))
    }

    #[cfg(test)]
    pub(super) fn fake(failed: &[(Step, Errno)]) -> Self {
        let results = Step::ALL.map(|step| {
            let failure = failed.iter().find(|(at, _)| *at == step);
            (step, failure.map_or(Ok(()), |(_, errno)| Err(*errno)))
        });
        Self {
            results: results.into(),
        }
    }
}

/// Tries everything as this user.
pub(super) fn try_all() -> Probed {
    match in_child() {
        Ok(records) => Probed {
            results: records.chunks_exact(RECORD).filter_map(parse).collect(),
        },
        Err(error) => {
            tracing::debug!(%error, "cannot try out namespaces");
            Probed::default()
        }
    }
}

/// One byte for the step, two for the error number.
const RECORD: usize = 3;

fn parse(record: &[u8]) -> Option<(Step, Result<(), Errno>)> {
    let &[step, low, high] = record else {
        return None;
    };
    let step = *Step::ALL.get(usize::from(step))?;
    let result = match u16::from_le_bytes([low, high]) {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno.into())),
    };
    Some((step, result))
}

fn in_child() -> io::Result<Vec<u8>> {
    let (ours, its) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let plan = Plan::new();
    // SAFETY: the child makes system calls only, on what was made before, and ends by one.
    match unsafe { fork() }? {
        ForkResult::Child => {
            try_steps(&plan, its.as_fd());
            // SAFETY: nothing of the parent's runs, no destructor and no handler.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(its);
            let mut records = Vec::new();
            File::from(ours).take(4096).read_to_end(&mut records)?;
            while waitpid(child, None) == Err(posix::errno::Errno::EINTR) {}
            Ok(records)
        }
    }
}

/// What the child needs, made before it.
struct Plan {
    is_root: bool,
    user_map: String,
    group_map: String,
}

impl Plan {
    fn new() -> Self {
        let user = rustix::process::geteuid();
        let group = rustix::process::getegid();
        Self {
            is_root: user.is_root(),
            user_map: format!("1000 {} 1", user.as_raw()),
            group_map: format!("100 {} 1", group.as_raw()),
        }
    }
}

/// Root makes its mounts before it gives up being root in a user namespace; others can't make
/// any before.
fn try_steps(plan: &Plan, out: BorrowedFd<'_>) {
    if !plan.is_root {
        if !tried(out, Step::User, unshare(UnshareFlags::NEWUSER)) {
            return;
        }
        tried(out, Step::Map, map(plan));
    }
    for (step, flag) in [
        (Step::Mount, UnshareFlags::NEWNS),
        (Step::Ipc, UnshareFlags::NEWIPC),
        (Step::HostName, UnshareFlags::NEWUTS),
        (Step::Network, UnshareFlags::NEWNET),
        (Step::Process, UnshareFlags::NEWPID),
    ] {
        if !tried(out, step, unshare(flag)) && matches!(step, Step::Mount) {
            // What follows would be done to the host.
            return;
        }
    }
    // SAFETY: as above; the grandchild is the first process of its namespace, which is what
    // mounting `/proc` needs.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            try_mounts(plan, out);
            // SAFETY: nothing of the parent's runs, no destructor and no handler.
            unsafe { libc::_exit(0) }
        }
        Ok(ForkResult::Parent { child }) => {
            while waitpid(child, None) == Err(posix::errno::Errno::EINTR) {}
        }
        Err(_) => {}
    }
}

fn try_mounts(plan: &Plan, out: BorrowedFd<'_>) {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    if !tried(out, Step::Private, mount_change(c"/", private)) {
        return;
    }
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    // Over directories that are there everywhere, and not over the root: whose root isn't that
    // of its namespace gets no user namespace.
    let proc = mount(c"proc", c"/proc", c"proc", flags, None);
    tried(out, Step::Proc, proc);
    let options = c"newinstance,mode=0620,ptmxmode=0666";
    tried(
        out,
        Step::Devpts,
        mount(c"devpts", c"/dev", c"devpts", flags, options),
    );
    tried(
        out,
        Step::Tmpfs,
        mount(c"tmpfs", c"/dev", c"tmpfs", flags, None),
    );
    if plan.is_root {
        tried(out, Step::User, unshare(UnshareFlags::NEWUSER));
        tried(out, Step::Map, Ok(()));
    }
}

fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: no flag concerns descriptors, which is what others could be surprised by.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

fn map(plan: &Plan) -> Result<(), Errno> {
    let write = |path, text: &str| {
        let file = rustix::fs::openat(CWD, path, OFlags::WRONLY, Mode::empty())?;
        rustix::io::write(&file, text.as_bytes()).map(drop)
    };
    write(c"/proc/self/setgroups", "deny")?;
    write(c"/proc/self/uid_map", &plan.user_map)?;
    write(c"/proc/self/gid_map", &plan.group_map)
}

/// Tells the parent; whether it worked.
fn tried(out: BorrowedFd<'_>, step: Step, result: Result<(), Errno>) -> bool {
    let errno = result.err().map_or(0, Errno::raw_os_error);
    let [low, high] = u16::try_from(errno).unwrap_or(u16::MAX).to_le_bytes();
    let _ = rustix::io::write(out, &[step as u8, low, high]);
    result.is_ok()
}
