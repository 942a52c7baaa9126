//! Hooks for tests: shell scripts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::HookError;
use crate::cancel::Cancel;

/// A script that is removed in the end.
pub(super) struct TestHook {
    directory: TempDir,
}

impl TestHook {
    pub(super) fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let hook = Self { directory };
        // Another process writes it: a child of another thread of ours would have it open
        // for writing for a moment, and then it can't be executed.
        let status = Command::new("sh")
            .args([
                "-c",
                r#"printf '#!/bin/sh\n%s' "$0" > "$1" && chmod 755 "$1""#,
            ])
            .arg(script)
            .arg(hook.program())
            .status()
            .unwrap();
        assert!(status.success());
        hook
    }

    pub(super) fn program(&self) -> PathBuf {
        self.directory.path().join("hook")
    }
}

pub(super) fn environment() -> BTreeMap<OsString, OsString> {
    BTreeMap::from([
        ("PATH".into(), "/usr/bin:/bin".into()),
        ("KEPT".into(), "yes".into()),
    ])
}

/// Runs a hook with a switch that is off, and gives its lines as text.
pub(super) fn lines_of<T>(
    run: impl FnOnce(&Cancel, &mut dyn FnMut(&[u8])) -> Result<T, HookError>,
) -> (Vec<String>, Result<T, HookError>) {
    let mut lines = Vec::new();
    let cancel = Cancel::new().unwrap();
    let result = run(&cancel, &mut |line| {
        lines.push(String::from_utf8_lossy(line).into_owned());
    });
    (lines, result)
}
