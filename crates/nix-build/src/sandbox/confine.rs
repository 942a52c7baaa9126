//! Carrying out a plan, in the process that is to become the builder.

use std::collections::BTreeSet;

use rustix::fs::Stat;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal};

use super::error::SandboxError;
use super::landlock::{self, Scoped};
use super::mounts::{self, Tree};
use super::plan::{Expected, Rlimits, SandboxPlan, Step, can_do_without};
use super::{ids, namespaces, seccomp, sys, verify};
use crate::config::Layer;

type Result<T, E = SandboxError> = std::result::Result<T, E>;

/// Confines this process, for good. `await_go` is called once, and told whether the parent
/// is to write the ids of a user namespace; `missing` are layers that were left out already.
pub(crate) fn confine(
    plan: &SandboxPlan,
    missing: BTreeSet<Layer>,
    await_go: &mut dyn FnMut(bool) -> Result<()>,
) -> Result<()> {
    let mut state = State {
        plan,
        tree: None,
        root: None,
        missing,
        await_go,
    };
    for step in &plan.steps {
        if let Err(error) = state.carry_out(step) {
            // Root in a range of ids is only root in a namespace.
            let needed = matches!(step, Step::UserNamespace { range: true });
            let layer = error.layer;
            if needed || !plan.accept_missing.contains(&layer) || !can_do_without(layer) {
                return Err(error);
            }
            state.missing.insert(error.layer);
        }
    }
    let (uid, gid) = state.ids((plan.expected.uid, plan.expected.gid));
    let expected = Expected {
        uid,
        gid,
        ..plan.expected.clone()
    };
    verify::verify(&expected, &state.missing, state.root.as_ref())
}

struct State<'a> {
    plan: &'a SandboxPlan,
    tree: Option<Tree>,
    root: Option<Stat>,
    missing: BTreeSet<Layer>,
    await_go: &'a mut dyn FnMut(bool) -> Result<()>,
}

impl State<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<()> {
        match step {
            // The host's, if there is no namespace; it is none of our business.
            Step::Loopback if self.missing.contains(&Layer::Network) => Ok(()),
            Step::Loopback => sys::loopback_up().map_err(|e| {
                SandboxError::new(Layer::Network, "switch the loopback interface on", e)
            }),
            Step::HostName => namespaces::set_host_name(),
            Step::PrivateMounts => mounts::make_private(),
            Step::Root { on, options, owner } => {
                self.tree = Some(Tree::create(on.as_path(), options, *owner)?);
                Ok(())
            }
            Step::Directory { path, mode } => self.tree()?.directory(path.as_path(), *mode),
            Step::File { path, contents } => self.tree()?.file(path.as_path(), contents),
            Step::Link { path, target } => self.tree()?.link(path.as_path(), target.as_path()),
            Step::Bind(bind) => self.tree()?.bind(bind),
            Step::Kernel(fs) => self.tree()?.kernel(fs),
            Step::SealRoot => self.tree()?.seal(),
            Step::Pivot => {
                let tree = self.tree.take().ok_or_else(no_tree)?;
                self.root = Some(tree.enter()?);
                Ok(())
            }
            Step::WorkingDirectory(path) => rustix::process::chdir(path.as_path()).map_err(|e| {
                SandboxError::new(Layer::Mounts, "enter the build directory", e).at(path.as_path())
            }),
            Step::Personality(needed, wished) => set_personality(*needed, *wished),
            Step::Limits(limits) => set_limits(limits),
            Step::Groups(groups) => ids::set_groups(groups),
            Step::NoGroupsBut(gid) => ids::require_no_groups_but(*gid),
            Step::UserNamespace { range } => ids::enter_user_namespace(*range),
            Step::AwaitGo => self.await_go(),
            Step::CgroupNamespace => ids::enter_cgroup_namespace(),
            Step::BoundingSet => ids::drop_bounding_set(),
            Step::SyscallFilter {
                allow_new_privileges,
            } => seccomp::install(*allow_new_privileges),
            Step::NoNewPrivileges => rustix::thread::set_no_new_privs(true)
                .map_err(|e| SandboxError::new(Layer::Capabilities, "set no_new_privs", e)),
            Step::Scope { required } => scope(*required),
            Step::Ids { uid, gid } => {
                let (uid, gid) = self.ids((*uid, *gid));
                ids::set_ids(uid, gid)
            }
            Step::NoCapabilities => ids::drop_capabilities(),
            Step::DeathSignal => arm_death_signal(),
        }
    }

    /// Waits for the parent, which writes the ids if this process has just entered a user
    /// namespace.
    fn await_go(&mut self) -> Result<()> {
        let start = &self.plan.start;
        let entered = start.ids.is_some()
            && !start.namespaces.user
            && !self.missing.contains(&Layer::UserNamespace);
        (self.await_go)(entered)
    }

    /// `inside`, or what it is on the host if there is no user namespace.
    fn ids(&self, inside: (u32, u32)) -> (u32, u32) {
        match &self.plan.start.ids {
            Some(ids) if self.missing.contains(&Layer::UserNamespace) => {
                (ids.host_uid, ids.host_gid)
            }
            _ => inside,
        }
    }

    fn tree(&mut self) -> Result<&mut Tree> {
        self.tree.as_mut().ok_or_else(no_tree)
    }
}

/// Has the kernel kill this process when its parent dies. Undone by every change of ids.
pub(crate) fn arm_death_signal() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| SandboxError::new(Layer::Namespaces, "arm the death signal", e))
}

fn no_tree() -> SandboxError {
    let error = std::io::Error::from(std::io::ErrorKind::NotFound);
    SandboxError::new(Layer::Mounts, "use a root that wasn't made", error)
}

fn set_personality(needed: u32, wished: u32) -> Result<()> {
    if sys::add_personality(needed | wished).is_ok() {
        return Ok(());
    }
    match needed {
        0 => Ok(()),
        _ => sys::add_personality(needed)
            .map_err(|e| SandboxError::new(Layer::Namespaces, "set the personality", e)),
    }
}

fn set_limits(limits: &Rlimits) -> Result<()> {
    let bounds = [
        (Resource::Fsize, limits.file_size),
        (Resource::Nproc, limits.processes),
        (Resource::As, limits.address_space),
    ];
    let set = |resource, limit| {
        rustix::process::setrlimit(resource, limit)
            .map_err(|e| SandboxError::new(Layer::Cgroups, "set a limit of resources", e))
    };
    // The hard limit stays: a builder may ask for core dumps.
    let core = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    set(Resource::Core, core)?;
    for (resource, wanted) in bounds {
        let Some(wanted) = wanted else { continue };
        let now = getrlimit(resource).maximum;
        let limit = Some(now.map_or(wanted, |now| now.min(wanted)));
        set(
            resource,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )?;
    }
    Ok(())
}

fn scope(required: bool) -> Result<()> {
    match landlock::scope() {
        Ok(Scoped::Yes) => Ok(()),
        Ok(Scoped::Unsupported) if required => Err(SandboxError::new(
            Layer::Landlock,
            "scope abstract sockets and signals (needs Linux 6.12 with Landlock)",
            std::io::Error::from(std::io::ErrorKind::Unsupported),
        )),
        Ok(Scoped::Unsupported) => Ok(()),
        Err(error) => Err(error),
    }
}
