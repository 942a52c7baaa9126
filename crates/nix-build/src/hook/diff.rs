//! The diff hook: shows how two builds of one derivation differ.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::cancel::Cancel;

use super::HookError;
use super::run::{Output, command, run};

/// A call of the diff hook.
#[derive(Debug, Clone, Copy)]
pub struct DiffHook<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its environment.
    pub environment: &'a BTreeMap<OsString, OsString>,
    /// The output that was there.
    pub old: &'a Path,
    /// The one that was built now.
    pub new: &'a Path,
    /// The derivation, in full.
    pub drv_path: &'a str,
    /// The build directory.
    pub temp_dir: &'a Path,
    /// The user and the group that the build ran as, if not this process's.
    pub user: Option<(u32, u32)>,
}

/// Runs the diff hook. What it writes goes to `log`, line by line without the newline;
/// so does its failure, which has no other consequence.
pub fn run_diff_hook(call: &DiffHook<'_>, cancel: &Cancel, log: &mut dyn FnMut(&[u8])) {
    if let Err(error) = try_run(call, cancel, log) {
        let mut message = format!("diff hook execution failed: {error}");
        if let Some(cause) = error.source() {
            message.push_str(&format!(": {cause}"));
        }
        log(message.as_bytes());
    }
}

fn try_run(
    call: &DiffHook<'_>,
    cancel: &Cancel,
    log: &mut dyn FnMut(&[u8]),
) -> Result<(), HookError> {
    let mut command = command(call.program, call.environment);
    command
        .args([call.old, call.new])
        .arg(call.drv_path)
        .arg(call.temp_dir)
        .current_dir("/");
    if let Some((user, group)) = call.user {
        // Setting the user drops the supplementary groups as well.
        command.uid(user).gid(group);
    }
    run(command, Output::Log, cancel, log)
}

#[cfg(test)]
mod tests;
