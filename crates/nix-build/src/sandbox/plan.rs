//! The steps that confine one builder, in order: a pure function of its [`SandboxInput`].
//!
//! As root: the child begins as root in namespaces of its own, builds a root file system,
//! enters it, and only then a user namespace in which it is somebody else. Without
//! privileges the user namespace comes first.

use serde::{Deserialize, Serialize};

pub use super::bytes::OsBytes;
pub use super::error::SandboxError;
pub use super::input::{
    Confinement, Identity, Network, NetworkFiles, Program, Rlimits, SandboxInput,
};

/// How one builder is started and confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// What it runs.
    pub(crate) program: Program,
}

/// Plans the confinement of one builder.
///
/// # Errors
/// A path that can't be in a sandbox, such as one with `..` or the root itself.
pub fn plan(input: &SandboxInput<'_>) -> Result<SandboxPlan, SandboxError> {
    Ok(SandboxPlan {
        program: input.program.clone(),
    })
}
