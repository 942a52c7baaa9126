//! Arguments of `verify`.

use std::path::PathBuf;

/// What to look at, and what to do about what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VerifyArgs {
    /// Read and hash every file.
    pub(crate) check_contents: bool,
    /// Look at owners, modes, times and attributes.
    pub(crate) check_metadata: bool,
    /// Put right what is wrong.
    pub(crate) repair: bool,
    /// Stores and caches with good copies.
    pub(crate) sources: Vec<String>,
    /// Go on where an earlier check was cut.
    pub(crate) resume: bool,
    /// At most so many bytes in a second.
    pub(crate) rate: Option<u64>,
    /// Print a report as JSON on stdout.
    pub(crate) json: bool,
    /// Only these paths.
    pub(crate) paths: Vec<PathBuf>,
}
