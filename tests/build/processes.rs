//! Processes of builds, found by words that only they have on their command lines.

use std::time::{Duration, Instant};

use test_support::poll_until;

/// The processes of this machine with `words` on their command lines.
pub(crate) fn with_words(words: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| *pid != std::process::id())
        .filter(|pid| {
            // It may have ended meanwhile.
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(words)
        })
        .collect()
}

/// Waits for a process with these words and gives its number.
pub(crate) fn wait_for(words: &str) -> u32 {
    poll_until(&format!("a process '{words}'"), || {
        with_words(words).first().copied()
    })
}

/// Waits until no process has these words, and says how long that took.
pub(crate) fn wait_until_gone(words: &str) -> Duration {
    let start = Instant::now();
    poll_until(&format!("the end of '{words}'"), || {
        with_words(words).is_empty().then_some(())
    });
    start.elapsed()
}

/// The user and group that a process runs as.
pub(crate) fn ids(pid: u32) -> (u32, u32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (field("Uid:"), field("Gid:"))
}
