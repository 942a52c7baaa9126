//! What a client asks for.

use nix_base::{BuildOptions, StorePath};
use nix_drv::BasicDerivation;

use crate::requester::Requester;

/// Whether to build, or to build again and compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BuildMode {
    /// Build what isn't valid.
    #[default]
    Normal,
    /// Build valid outputs again and compare (`--check`).
    Check,
}

/// Bounds of one build that its client may tighten; 0 means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct BuildLimits {
    /// Seconds without output.
    pub max_silent_time: u64,
    /// Seconds in all.
    pub timeout: u64,
    /// Bytes of log.
    pub max_log_size: u64,
}

impl BuildLimits {
    /// The limits that a client sent.
    #[must_use]
    pub fn of_options(options: &BuildOptions) -> Self {
        Self {
            max_silent_time: options.max_silent_time.into(),
            timeout: options.build_timeout.into(),
            max_log_size: options.max_log_size,
        }
    }

    /// The tighter of each two.
    #[must_use]
    pub fn tightened(self, other: Self) -> Self {
        let tighter = |a: u64, b: u64| match (a, b) {
            (0, limit) | (limit, 0) => limit,
            (a, b) => a.min(b),
        };
        Self {
            max_silent_time: tighter(self.max_silent_time, other.max_silent_time),
            timeout: tighter(self.timeout, other.timeout),
            max_log_size: tighter(self.max_log_size, other.max_log_size),
        }
    }
}

/// One derivation to be built.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Its path, which need not be valid: it names the derivation.
    pub drv_path: StorePath,
    /// What to do; all inputs are sources.
    pub drv: BasicDerivation,
    /// The derivation's hash for realisations where it differs from that of `drv`: an
    /// input-addressed derivation's, whose inputs were replaced by their paths.
    pub realisation_hash: Option<nix_base::Hash>,
    /// Build, or compare.
    pub mode: BuildMode,
    /// The client's bounds.
    pub limits: BuildLimits,
    /// Whether the build directory stays after a failure.
    pub keep_failed: bool,
    /// Who asks.
    pub requester: Requester,
}
