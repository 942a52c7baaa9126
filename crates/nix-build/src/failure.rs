//! Why a build failed: the status that goes over the wire, and one message.

use nix_base::{BuildResult, BuildStatus};

/// A build that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BuildFailure {
    /// The status for the client.
    pub status: BuildStatus,
    /// Plain text without colours, in Nix's words where it has some.
    pub message: String,
    /// Whether the hash of a fixed output was wrong: exit code 102 instead of 1.
    pub hash_mismatch: bool,
    /// When the builder ran, in seconds since 1970, even if not to its end.
    pub times: Option<(i64, i64)>,
}

/// The result of a step of a build.
pub type Result<T, E = BuildFailure> = std::result::Result<T, E>;

impl BuildFailure {
    /// A failure with this status and message.
    pub fn new(status: BuildStatus, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            hash_mismatch: false,
            times: None,
        }
    }

    /// Something that isn't the derivation's fault.
    pub fn misc(message: impl Into<String>) -> Self {
        Self::new(BuildStatus::MiscFailure, message)
    }

    /// `what` failed because of `error`, with all that is behind it.
    pub fn because(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::misc(format!("{what}: {}", with_causes(error)))
    }

    /// What a client gets.
    #[must_use]
    pub fn to_result(&self) -> BuildResult {
        let mut result = BuildResult::failure(self.status, self.message.clone());
        if let Some((start, stop)) = self.times {
            result.times_built = u32::from(has_run(self.status));
            result.start_time = start;
            result.stop_time = stop;
        }
        result
    }

    /// The exit code that real Nix gives for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.status {
            _ if self.hash_mismatch => 102,
            BuildStatus::TimedOut => 101,
            BuildStatus::NotDeterministic => 104,
            BuildStatus::PermanentFailure | BuildStatus::InputRejected => 100,
            _ => 1,
        }
    }
}

/// Whether a builder ran to its end before a failure with this status.
fn has_run(status: BuildStatus) -> bool {
    use BuildStatus::{NotDeterministic, OutputRejected, PermanentFailure, TransientFailure};
    matches!(
        status,
        NotDeterministic | OutputRejected | PermanentFailure | TransientFailure
    )
}

impl From<nix_store_core::Error> for BuildFailure {
    fn from(error: nix_store_core::Error) -> Self {
        Self::misc(with_causes(&error))
    }
}

/// An error and its causes in one line, each behind `: `.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
