//! Programs of the operator that are run around builds: the pre-build hook, the post-build
//! hook and the diff hook.
//!
//! A hook gets the null device as standard input and one pipe as standard output and
//! error: descriptor 1 of this process may be a protocol, and nothing of a hook gets there.

mod descriptors;
mod diff;
mod post_build;
mod pre_build;
mod run;
#[cfg(test)]
mod test_hook;

pub use self::diff::{DiffHook, run_diff_hook};
pub use self::post_build::{PostBuildHook, run_post_build_hook};
pub use self::pre_build::{PreBuildHook, run_pre_build_hook};

use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// It can't be started.
    #[error("executing '{}'", .program.display())]
    Start {
        /// The hook.
        program: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Its output can't be read, or it can't be waited for.
    #[error("running '{}'", .program.display())]
    Run {
        /// The hook.
        program: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It ended with something else than success.
    #[error("program '{}' {}", .program.display(), run::describe(*.status))]
    Failed {
        /// The hook.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The build was cancelled meanwhile.
    #[error("'{}' was interrupted", .program.display())]
    Cancelled {
        /// The hook.
        program: PathBuf,
    },
    /// The pre-build hook said something that has no meaning.
    #[error("unknown pre-build hook command '{0}'")]
    UnknownCommand(String),
    /// The pre-build hook named an empty path.
    #[error("the pre-build hook named an empty path in '{0}'")]
    EmptyPath(String),
    /// The pre-build hook wrote more than any answer is long.
    #[error("'{}' wrote more than {limit} bytes", .program.display())]
    TooMuch {
        /// The hook.
        program: PathBuf,
        /// The bound.
        limit: usize,
    },
}
