//! A store on a small file system of its own.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::say::{is_ci, say};
use crate::temp_store::names_in;

/// A store on a file system in memory, of a size that is soon used up. Only root can have one.
#[derive(Debug)]
pub struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of `size`, as mount(8) understands it. Where that isn't permitted it says that
    /// `test` is skipped, and gives `None`.
    ///
    /// # Panics
    /// If root can't mount in CI.
    pub fn mount(test: &str, size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { directory });
        }
        assert!(
            !(is_ci() && is_root()),
            "{test}: root can mount file systems"
        );
        say(&format!(
            "SKIPPED: {test}: NO RIGHT TO MOUNT A SMALL FILE SYSTEM"
        ));
        None
    }

    /// Where it is mounted; the store lies below.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The store address.
    pub fn address(&self) -> String {
        format!("local?root={}", self.root().display())
    }

    /// What is in the store directory, sorted, `.links` excepted.
    pub fn names(&self) -> Vec<String> {
        let mut names = names_in(&self.root().join("nix/store"));
        names.retain(|name| name != ".links");
        names
    }

    /// Leaves no byte free. What takes up the room is in the file that is named.
    pub fn fill(&self) -> PathBuf {
        let path = self.root().join("filler");
        let mut filler = File::create(&path).unwrap();
        let block = vec![b'f'; 1 << 16];
        while filler.write_all(&block).is_ok() {}
        while filler.write_all(b"f").is_ok() {}
        path
    }

    /// Lets nobody write any more.
    ///
    /// # Panics
    /// If the file system is busy.
    pub fn remount_read_only(&self) {
        let status = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(self.root())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.root()).status();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
