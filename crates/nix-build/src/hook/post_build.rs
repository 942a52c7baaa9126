//! The post-build hook: is told of every success, and can turn it into a failure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::cancel::Cancel;

use super::HookError;
use super::run::{Output, command, run};

/// A call of the post-build hook.
#[derive(Debug, Clone, Copy)]
pub struct PostBuildHook<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its environment, to which `DRV_PATH`, `OUT_PATHS` and `NIX_CONFIG` are added.
    pub environment: &'a BTreeMap<OsString, OsString>,
    /// The derivation, in full.
    pub drv_path: &'a str,
    /// The outputs, in full.
    pub outputs: &'a [String],
    /// All settings, as lines of `nix.conf`.
    pub settings_text: &'a str,
}

/// Runs the post-build hook. What it writes goes to `log`, line by line without the
/// newline, each with the hook's name in front.
///
/// # Errors
/// It can't be run, or fails: then the build has failed.
pub fn run_post_build_hook(
    call: &PostBuildHook<'_>,
    cancel: &Cancel,
    log: &mut dyn FnMut(&[u8]),
) -> Result<(), HookError> {
    let mut command = command(call.program, call.environment);
    let mut outputs: Vec<&str> = call.outputs.iter().map(String::as_str).collect();
    outputs.sort_unstable();
    command
        .env("DRV_PATH", call.drv_path)
        .env("OUT_PATHS", outputs.join(" "))
        .env("NIX_CONFIG", call.settings_text);
    let mut prefixed = |line: &[u8]| log(&[PREFIX, line].concat());
    run(command, Output::Log, cancel, &mut prefixed)
}

const PREFIX: &[u8] = b"post-build-hook: ";

#[cfg(test)]
mod tests;
