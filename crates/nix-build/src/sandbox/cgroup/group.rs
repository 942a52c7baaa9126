//! One directory of one hierarchy.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Controller, LimitHit};

/// A group that holds processes of one build.
#[derive(Debug)]
pub(super) struct Group {
    dir: PathBuf,
    version: Version,
    /// The locked directory: says that somebody is there for the group.
    _lock: File,
}

/// Which kind of hierarchy, which decides about the names of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// With one controller.
    One(Controller),
    /// With any.
    Two,
}

impl Group {
    /// Makes a group in `parent`, and removes those that nobody is there for.
    pub(super) fn make(parent: &Path, version: Version) -> io::Result<Self> {
        sweep(parent);
        loop {
            let dir = parent.join(format!("{PREFIX}{:016x}", random()?));
            match fs::DirBuilder::new().mode(0o755).create(&dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                done => done?,
            }
            // Between these two steps somebody's sweep may have taken it for a leftover.
            if let Some(lock) = claim(&dir)? {
                return Ok(Self {
                    dir,
                    version,
                    _lock: lock,
                });
            }
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string())
    }

    /// Sets a limit; an error comes with the file's name.
    pub(super) fn limit(
        &self,
        controller: Controller,
        limit: u64,
    ) -> Result<(), (&'static str, io::Error)> {
        let set = |file: &'static str, value: &str| {
            fs::write(self.dir.join(file), value).map_err(|error| (file, error))
        };
        let set_if_there = |file, value: &str| match set(file, value) {
            // Kernels without swap accounting have no such file.
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        let value = limit.to_string();
        match (self.version, controller) {
            (_, Controller::Processes) => set("pids.max", &value),
            (Version::One(_), Controller::Memory) => {
                set("memory.limit_in_bytes", &value)?;
                set_if_there("memory.memsw.limit_in_bytes", &value)
            }
            (Version::Two, Controller::Memory) => {
                set("memory.max", &value)?;
                set_if_there("memory.swap.max", "0")?;
                // All of the build or nothing: half a build goes wrong in odd ways.
                set_if_there("memory.oom.group", "1")
            }
        }
    }

    pub(super) fn hit(&self) -> Option<LimitHit> {
        let is_over = |file: &str, keys: &[&str]| {
            fs::read_to_string(self.dir.join(file)).is_ok_and(|text| has_counted(&text, keys))
        };
        let has_memory = match self.version {
            Version::One(_) => is_over("memory.oom_control", &["oom_kill", "under_oom"]),
            Version::Two => is_over("memory.events", &["oom", "oom_kill", "oom_group_kill"]),
        };
        match has_memory {
            true => Some(LimitHit::Memory),
            false => is_over("pids.events", &["max"]).then_some(LimitHit::Processes),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        processes(&self.dir).is_ok_and(|pids| pids.is_empty())
    }

    pub(super) fn kill(&self, deadline: Instant) -> io::Result<()> {
        kill(&self.dir, deadline)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = Instant::now() + REMOVAL_TIME;
        if let Err(error) = remove(&self.dir, deadline) {
            tracing::warn!(%error, "cannot remove control group '{}'", self.dir.display());
        }
    }
}

/// Removes what killed servers left in `parent`. Failures are for the next one: nothing depends
/// on it.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let dir = entry.path();
        if let Ok(Some(_lock)) = claim(&dir) {
            let _ = remove(&dir, Instant::now() + REMOVAL_TIME);
        }
    }
}

/// The locked directory; `None` if it is somebody else's, or gone.
fn claim(dir: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let file = match File::options().read(true).custom_flags(flags).open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        done => done?,
    }
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let is_there = fs::symlink_metadata(dir).is_ok_and(|there| {
        file.metadata()
            .is_ok_and(|ours| inode(ours) == inode(there))
    });
    Ok(is_there.then_some(file))
}

fn kill(dir: &Path, deadline: Instant) -> io::Result<()> {
    // Nothing new from here on; then all at once, where the kernel can do that (Linux 5.14).
    let _ = fs::write(dir.join("pids.max"), "0");
    let _ = fs::write(dir.join("cgroup.kill"), "1");
    let mut pause = Duration::from_micros(100);
    loop {
        let left = processes(dir)?;
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            kill_member(dir, pid);
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "processes are still there",
            ));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Kills a process if it is in the group: its number may have passed to another since it was
/// read, but not any more once there is a descriptor.
fn kill_member(dir: &Path, pid: Pid) {
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if processes(dir).is_ok_and(|pids| pids.contains(&pid)) {
        let _ = pidfd_send_signal(&handle, Signal::KILL);
    }
}

fn processes(dir: &Path) -> io::Result<Vec<Pid>> {
    let text = fs::read_to_string(dir.join("cgroup.procs"))?;
    // Processes of other pid namespaces are listed as 0.
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok().and_then(Pid::from_raw))
        .collect())
}

fn remove(dir: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                if Instant::now() > deadline {
                    return Err(error);
                }
                kill(dir, deadline)?;
                std::thread::yield_now();
            }
            done => return done,
        }
    }
}

/// Whether one of the counters isn't 0, in a file of lines with a name and a number.
fn has_counted(text: &str, names: &[&str]) -> bool {
    text.lines().any(|line| {
        line.split_once(' ')
            .is_some_and(|(name, count)| names.contains(&name) && count.trim() != "0")
    })
}

fn random() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::from)
}

pub(super) const PREFIX: &str = "nix-serve-build-";
const REMOVAL_TIME: Duration = Duration::from_secs(5);
