//! How a build ended, as a whole.

use nix_base::BuildResult;

use crate::failure::BuildFailure;

/// A result with what the serve protocol's result leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildOutcome {
    /// What the client gets.
    pub result: BuildResult,
    /// Whether the hash of a fixed output was wrong.
    pub hash_mismatch: bool,
    /// The exit code that real Nix gives for it: 0 for a success.
    pub exit_code: u8,
}

impl BuildOutcome {
    /// Whether the outputs are there.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.result.status.is_success()
    }
}

impl From<BuildFailure> for BuildOutcome {
    fn from(failure: BuildFailure) -> Self {
        Self {
            result: failure.to_result(),
            hash_mismatch: failure.hash_mismatch,
            exit_code: failure.exit_code(),
        }
    }
}

impl From<BuildResult> for BuildOutcome {
    /// The outcome of a result without a wrong hash.
    fn from(result: BuildResult) -> Self {
        let exit_code = match result.status.is_success() {
            true => 0,
            false => BuildFailure::new(result.status, "").exit_code(),
        };
        Self {
            result,
            hash_mismatch: false,
            exit_code,
        }
    }
}

impl From<Result<BuildResult, BuildFailure>> for BuildOutcome {
    fn from(result: Result<BuildResult, BuildFailure>) -> Self {
        match result {
            Ok(result) => result.into(),
            Err(failure) => failure.into(),
        }
    }
}
