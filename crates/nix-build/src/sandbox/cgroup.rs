//! Control groups: the memory and the number of processes of one build.
//!
//! A build gets a group of its own below the group that this process is in, in every hierarchy
//! that a limit needs: version 2 where the controllers are delegated to this process, version 1
//! on machines that have them there. Where version 2 is mounted at all the build gets a group in
//! it, because that can be killed as a whole.
//!
//! A group's directory is locked for as long as its server lives. What a killed server left is
//! found by the missing lock, and removed by the next one.

mod find;
mod group;
#[cfg(test)]
mod tests;
mod unified;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use self::find::Hierarchies;
use self::group::{Group, Version};
use super::SandboxError;
use crate::config::{Layer, ResourceLimits};

/// Control groups for one build. Dropping them kills what is in them and removes them.
#[derive(Debug)]
#[must_use]
pub struct BuildCgroup {
    groups: Vec<Group>,
    /// What had been hit before the processes were killed, which counts as a hit itself.
    at_kill: OnceLock<Option<LimitHit>>,
}

/// The limit that a build ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitHit {
    /// `build-memory-limit`.
    Memory,
    /// `build-process-limit`.
    Processes,
}

impl BuildCgroup {
    /// Groups with these limits; `None` if nothing is to be limited.
    ///
    /// # Errors
    /// A limit can't be had; the message says which, and what is missing.
    pub fn create(limits: &ResourceLimits) -> Result<Option<Self>, SandboxError> {
        let wanted = wanted(limits);
        if wanted.is_empty() {
            return Ok(None);
        }
        let hierarchies = Hierarchies::of_this_process()
            .map_err(|(path, error)| fail("find the control groups in", &path, error))?;
        Self::create_in(&hierarchies, &wanted).map(Some)
    }

    fn create_in(
        hierarchies: &Hierarchies,
        wanted: &[(Controller, u64)],
    ) -> Result<Self, SandboxError> {
        let mut groups: Vec<Group> = Vec::new();
        let mut unified = Vec::new();
        for &(controller, limit) in wanted {
            match hierarchies.version_1(controller.name()) {
                Some(parent) => {
                    let group = make(parent, Version::One(controller))?;
                    limit_one(&group, controller, limit)?;
                    groups.push(group);
                }
                None => unified.push((controller, limit)),
            }
        }
        match hierarchies.version_2() {
            Some(own) => groups.extend(group_in_unified(own, &unified)?),
            None => {
                if let [(controller, _), ..] = unified[..] {
                    return Err(absent(controller));
                }
            }
        }
        // The one that is killed at once comes first.
        groups.reverse();
        Ok(Self {
            groups,
            at_kill: OnceLock::new(),
        })
    }

    /// Moves a process into the groups; what it starts from then on is in them as well.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add(&self, pid: u32) -> Result<(), SandboxError> {
        self.groups.iter().try_for_each(|group| {
            group
                .add(pid)
                .map_err(|error| fail("move a process into", group.dir(), error))
        })
    }

    /// Kills all processes of the groups, and waits until they are gone.
    ///
    /// # Errors
    /// Some are still there after five seconds.
    pub fn kill(&self) -> Result<(), SandboxError> {
        self.at_kill.get_or_init(|| self.hit_by_now());
        let deadline = Instant::now() + KILL_TIME;
        self.groups.iter().try_for_each(|group| {
            group
                .kill(deadline)
                .map_err(|error| fail("kill the processes in", group.dir(), error))
        })
    }

    /// Whether a limit was ever reached: memory, if processes were killed for want of it;
    /// processes, if one couldn't be started. What happens after [`kill`](Self::kill) doesn't
    /// count.
    #[must_use]
    pub fn hit(&self) -> Option<LimitHit> {
        self.at_kill
            .get()
            .copied()
            .unwrap_or_else(|| self.hit_by_now())
    }

    fn hit_by_now(&self) -> Option<LimitHit> {
        self.groups.iter().filter_map(Group::hit).min()
    }

    /// Whether no process is left in the groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(Group::is_empty)
    }

    /// The directories, for messages.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.groups.iter().map(|g| g.dir().to_owned()).collect()
    }
}

/// What the operator is told when limits can't be had here; `None` if they can.
#[must_use]
pub fn describe_missing(limits: &ResourceLimits) -> Option<String> {
    let error = BuildCgroup::create(limits).err()?;
    let settings: Vec<&str> = wanted(limits)
        .iter()
        .map(|(controller, _)| controller.setting())
        .collect();
    Some(format!(
        "{} can't be held by control groups: {error}: {}; without them only the number of \
         processes and the size of single files are bounded, per user and per process",
        settings.join(" and "),
        error.source
    ))
}

/// What limits something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Processes,
}

impl Controller {
    /// The kernel's name.
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Memory => "'build-memory-limit'",
            Self::Processes => "'build-process-limit'",
        }
    }
}

fn wanted(limits: &ResourceLimits) -> Vec<(Controller, u64)> {
    let memory = limits.memory.map(|bytes| (Controller::Memory, bytes));
    let processes = limits.processes.map(|count| (Controller::Processes, count));
    memory.into_iter().chain(processes).collect()
}

/// A group in version 2's hierarchy: needed for these limits, or just good to have.
fn group_in_unified(
    own: &Path,
    wanted: &[(Controller, u64)],
) -> Result<Option<Group>, SandboxError> {
    if wanted.is_empty() {
        return Ok(Group::make(own, Version::Two).ok());
    }
    let names: Vec<&'static str> = wanted.iter().map(|(c, _)| c.name()).collect();
    let parent = unified::parent_with(own, &names).map_err(|error| {
        fail(
            "hand the controllers 'memory' and 'pids' on from (run the server in a group that is \
             delegated to it, such as 'systemd-run --scope -p Delegate=yes' makes)",
            own,
            error,
        )
    })?;
    let group = make(&parent, Version::Two)?;
    for &(controller, limit) in wanted {
        limit_one(&group, controller, limit)?;
    }
    Ok(Some(group))
}

fn make(parent: &Path, version: Version) -> Result<Group, SandboxError> {
    Group::make(parent, version).map_err(|error| fail("make a control group in", parent, error))
}

fn limit_one(group: &Group, controller: Controller, limit: u64) -> Result<(), SandboxError> {
    group
        .limit(controller, limit)
        .map_err(|(file, error)| fail("set the limit", &group.dir().join(file), error))
}

fn absent(controller: Controller) -> SandboxError {
    let step = match controller {
        Controller::Memory => "find a hierarchy with the controller 'memory'",
        Controller::Processes => "find a hierarchy with the controller 'pids'",
    };
    SandboxError::new(Layer::Cgroups, step, io::ErrorKind::NotFound)
}

fn fail(step: &'static str, path: &Path, error: io::Error) -> SandboxError {
    SandboxError::new(Layer::Cgroups, step, error).at(path)
}

/// Within which everything in a group is dead.
const KILL_TIME: Duration = Duration::from_secs(5);
