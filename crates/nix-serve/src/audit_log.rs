//! The audit log: one line of JSON for each operation of clients under a policy.
//!
//! ```text
//! STATE/nix-serve/audit/           0700
//!   current.jsonl                  0600, appended to by all servers
//!   20260531T120000.123Z-….jsonl  earlier ones, oldest first by name
//! ```
//!
//! A line is one write to a file opened for appending, so that lines of servers that run at
//! the same time never mix. Whoever finds the file full renames it, under a lock; others see
//! that and go on with the new one.

mod reader;
mod record;
mod time;
mod writer;

pub(crate) use reader::read_all;
pub(crate) use record::Wanted;
pub(crate) use time::parse_since;
pub(crate) use writer::AuditLog;

use std::path::{Path, PathBuf};

/// The directory of the log of the store with this state directory.
pub(crate) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("nix-serve/audit")
}

/// The file that is appended to.
const CURRENT: &str = "current.jsonl";
/// What names of all files of the log end in.
const SUFFIX: &str = ".jsonl";

#[cfg(test)]
mod tests;
