//! What a client asks of a build, and how it ended.

use std::collections::BTreeMap;

use crate::realisation::{OutputName, Realisation};

/// Limits and wishes that a client sends with a build request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildOptions {
    /// Seconds without output after which a build ends; 0 means no limit.
    pub max_silent_time: u32,
    /// Seconds after which a build ends; 0 means no limit.
    pub build_timeout: u32,
    /// Bytes of log after which a build ends; 0 means no limit.
    pub max_log_size: u64,
    /// Extra builds to compare with; refused unless 0 since Nix 2.13.
    pub nr_repeats: u32,
    /// Whether differing repeats are an error.
    pub enforce_determinism: bool,
    /// Whether the build directory of a failed build stays.
    pub keep_failed: bool,
}

/// How a build ended; the numbers are those of the serve protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BuildStatus {
    /// Built now.
    Built = 0,
    /// Fetched from a substituter.
    Substituted = 1,
    /// Nothing to do.
    AlreadyValid = 2,
    /// The builder failed.
    PermanentFailure = 3,
    /// Inputs, platform or features don't fit.
    InputRejected = 4,
    /// An output is missing, has the wrong hash, or breaks a check.
    OutputRejected = 5,
    /// May succeed when tried again.
    TransientFailure = 6,
    /// Failed before; unused since 2.0.
    CachedFailure = 7,
    /// Time or silence limit.
    TimedOut = 8,
    /// Anything else.
    MiscFailure = 9,
    /// Something that it needs failed.
    DependencyFailed = 10,
    /// Log limit.
    LogLimitExceeded = 11,
    /// Two builds differ.
    NotDeterministic = 12,
    /// The resolved derivation was built before.
    ResolvesToAlreadyValid = 13,
    /// Nobody can substitute it.
    NoSubstituters = 14,
}

impl BuildStatus {
    /// All statuses with their names, in order of their numbers.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Built, "Built"),
        (Self::Substituted, "Substituted"),
        (Self::AlreadyValid, "AlreadyValid"),
        (Self::PermanentFailure, "PermanentFailure"),
        (Self::InputRejected, "InputRejected"),
        (Self::OutputRejected, "OutputRejected"),
        (Self::TransientFailure, "TransientFailure"),
        (Self::CachedFailure, "CachedFailure"),
        (Self::TimedOut, "TimedOut"),
        (Self::MiscFailure, "MiscFailure"),
        (Self::DependencyFailed, "DependencyFailed"),
        (Self::LogLimitExceeded, "LogLimitExceeded"),
        (Self::NotDeterministic, "NotDeterministic"),
        (Self::ResolvesToAlreadyValid, "ResolvesToAlreadyValid"),
        (Self::NoSubstituters, "NoSubstituters"),
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status with this number.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        let index = usize::try_from(code).ok()?;
        Self::ALL.get(index).map(|(status, _)| *status)
    }

    /// The name in JSON, such as `Built`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[usize::from(self.code())].1
    }

    /// The status with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(s, _)| *s)
    }

    /// Whether the outputs are there.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(
            self,
            Self::Built | Self::Substituted | Self::AlreadyValid | Self::ResolvesToAlreadyValid
        )
    }
}

/// The outputs of a successful build.
pub type BuiltOutputs = BTreeMap<OutputName, Realisation>;

/// The answer to a build request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildResult {
    /// How it ended.
    pub status: BuildStatus,
    /// Why it failed; empty on success.
    pub error_msg: String,
    /// Number of builds that ran; 0 when nothing was built, always 0 from Nix 2.34.
    pub times_built: u32,
    /// Whether repeats differed.
    pub is_non_deterministic: bool,
    /// Start in seconds since 1970, 0 when nothing was built.
    pub start_time: i64,
    /// End in seconds since 1970, 0 when nothing was built.
    pub stop_time: i64,
    /// Empty on failure, and from peers below 2.6.
    pub built_outputs: BuiltOutputs,
}

impl BuildResult {
    /// A failure with `status` and a message, nothing else known.
    #[must_use]
    pub fn failure(status: BuildStatus, error_msg: impl Into<String>) -> Self {
        Self {
            status,
            error_msg: error_msg.into(),
            times_built: 0,
            is_non_deterministic: false,
            start_time: 0,
            stop_time: 0,
            built_outputs: BuiltOutputs::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_positions_in_the_table() {
        for (i, (status, name)) in BuildStatus::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(status.code()), i);
            assert_eq!(BuildStatus::from_code(i as u64), Some(status));
            assert_eq!(BuildStatus::from_name(name), Some(status));
            assert_eq!(status.name(), name);
        }
        assert_eq!(BuildStatus::from_code(15), None);
        assert_eq!(BuildStatus::from_code(u64::MAX), None);
    }
}
