//! The pre-build hook: adds paths of the host to the sandbox.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::ByteSlice;

use crate::cancel::Cancel;
use crate::config::SandboxPath;

use super::HookError;
use super::run::{Output, command, run};

/// A call of the pre-build hook.
#[derive(Debug, Clone, Copy)]
pub struct PreBuildHook<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its environment.
    pub environment: &'a BTreeMap<OsString, OsString>,
    /// The derivation, in full.
    pub drv_path: &'a str,
    /// The root of the sandbox on the host; `None` without a sandbox.
    pub chroot_dir: Option<&'a Path>,
}

/// Runs the pre-build hook and gives the paths that it wants to be visible. Its standard
/// error goes to `log`, line by line without the newline.
///
/// # Errors
/// It can't be run, fails, or answers something unknown.
pub fn run_pre_build_hook(
    call: &PreBuildHook<'_>,
    cancel: &Cancel,
    log: &mut dyn FnMut(&[u8]),
) -> Result<Vec<SandboxPath>, HookError> {
    let mut command = command(call.program, call.environment);
    command.arg(call.drv_path).args(call.chroot_dir);
    let mut answer = Vec::new();
    run(command, Output::Answer(&mut answer), cancel, log)?;
    parse(&answer)
}

/// `extra-sandbox-paths` or `extra-chroot-dirs`, then `PATH` or `TARGET=SOURCE` lines up to
/// an empty one, any number of times.
fn parse(answer: &[u8]) -> Result<Vec<SandboxPath>, HookError> {
    let mut paths = Vec::new();
    let mut in_list = false;
    for line in answer.lines() {
        match (in_list, line) {
            (false, b"extra-sandbox-paths" | b"extra-chroot-dirs") => in_list = true,
            (false, other) => return Err(HookError::UnknownCommand(lossy(other))),
            (true, b"") => in_list = false,
            (true, line) => paths.push(parse_path(line)?),
        }
    }
    Ok(paths)
}

// Nix compat: here a `?` at the end is part of the path.
fn parse_path(line: &[u8]) -> Result<SandboxPath, HookError> {
    let (target, source) = line.split_once_str("=").unwrap_or((line, line));
    if target.is_empty() || source.is_empty() {
        return Err(HookError::EmptyPath(lossy(line)));
    }
    Ok(SandboxPath {
        target: OsStr::from_bytes(target).into(),
        source: OsStr::from_bytes(source).into(),
        optional: false,
    })
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests;
