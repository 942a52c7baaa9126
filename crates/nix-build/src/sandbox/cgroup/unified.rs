//! Version 2: handing controllers on to groups below.
//!
//! A group that hands on controllers can't have processes itself, the root excepted. So a server
//! moves itself, and what it has started, into a group of its own beside those of the builds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The group that hands these controllers on, and that groups for builds are made in.
pub(super) fn parent_with(own: &Path, controllers: &[&str]) -> io::Result<PathBuf> {
    let parent = match (own.file_name(), own.parent()) {
        (Some(name), Some(parent)) if name == SERVER_GROUP => parent,
        _ => own,
    };
    let control = parent.join("cgroup.subtree_control");
    if lists_all(&control, controllers)? {
        return Ok(parent.to_owned());
    }
    if !lists_all(&parent.join("cgroup.controllers"), controllers)? {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!(
                "the group doesn't have the controllers {}",
                controllers.join(" and ")
            ),
        ));
    }
    let wanted: Vec<String> = controllers.iter().map(|c| format!("+{c}")).collect();
    let wanted = wanted.join(" ");
    match fs::write(&control, &wanted) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            leave(parent)?;
            fs::write(&control, &wanted).map_err(others_are_there)?;
        }
        Err(error) => return Err(error),
    }
    Ok(parent.to_owned())
}

/// Moves this process and its children out of `group`, into one below.
fn leave(group: &Path) -> io::Result<()> {
    let below = group.join(SERVER_GROUP);
    match fs::create_dir(&below) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let own = std::process::id();
    let target = below.join("cgroup.procs");
    for line in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
        let is_ours = line
            .parse::<u32>()
            .is_ok_and(|pid| pid == own || parent_of(pid) == Some(own));
        if is_ours {
            match fs::write(&target, line) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

fn others_are_there(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::ResourceBusy => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "the group has processes of others, too",
        ),
        _ => error,
    }
}

fn lists_all(file: &Path, controllers: &[&str]) -> io::Result<bool> {
    let text = fs::read_to_string(file)?;
    let listed: Vec<&str> = text.split_whitespace().collect();
    Ok(controllers.iter().all(|c| listed.contains(c)))
}

/// Where servers are.
pub(super) const SERVER_GROUP: &str = "nix-serve-server";
