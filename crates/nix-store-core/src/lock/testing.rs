//! The other side of a lock, as another process would be: a description of its own.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::flock::{self, LockMode};

/// The base name of a store path; `n` is its last digit.
pub(super) fn base_name(n: u8) -> String {
    format!("{:0>31}{}-object", "", n % 10)
}

/// The full path of [`base_name`].
pub(super) fn store_path(n: u8) -> String {
    format!("/nix/store/{}", base_name(n))
}

/// Opens or creates a file as another process would.
pub(super) fn outsider(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).expect("a file that can be opened")
}

/// [`outsider`] with the exclusive lock, which must be free.
pub(super) fn outsider_locked(path: &Path) -> File {
    let file = outsider(path);
    assert!(try_lock(&file, LockMode::Exclusive), "lock is busy");
    file
}

/// Tries to lock.
pub(super) fn try_lock(file: &File, mode: LockMode) -> bool {
    flock::try_lock(file, mode).expect("a file that can be locked")
}

/// True once somebody sleeps in `flock` on this very file.
pub(super) fn has_waiter(file: &File) -> bool {
    let inode = format!(":{} ", file.metadata().expect("an open file").ino());
    let locks = std::fs::read_to_string("/proc/locks").expect("Linux lists its locks");
    locks
        .lines()
        .any(|line| line.contains("-> FLOCK") && line.contains(&inode))
}

/// Gives way to other threads until `done` holds; fails when it doesn't for half a minute.
pub(super) fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(
            Instant::now() < deadline,
            "what was waited for didn't happen"
        );
        std::thread::yield_now();
    }
}
