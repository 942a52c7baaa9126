//! What a server tells about each operation of a connection.

use nix_base::{StorePath, StorePathSet};

use super::Refusal;

/// Takes down what a connection did. It may be called from any point of a session, and what
/// goes wrong with it must not end the session.
pub trait Audit: std::fmt::Debug + Send + Sync {
    /// Whether records are kept at all.
    fn is_on(&self) -> bool {
        true
    }

    /// One operation that is over, or was refused.
    fn record(&self, record: &AuditRecord<'_>);
}

/// One operation.
#[derive(Debug, Clone)]
pub struct AuditRecord<'a> {
    /// The name of the key that it was done for, if the role has one.
    pub key: Option<&'a str>,
    /// The command's name in the protocol's description, or its number if it has none.
    pub command: &'a str,
    /// The paths that were asked for, added or built.
    pub paths: &'a StorePathSet,
    /// The derivation that was to be built, if one was.
    pub derivation: Option<&'a StorePath>,
    /// Bytes of archives that were taken in or given out.
    pub bytes: u64,
    /// Seconds that builds took.
    pub build_seconds: u64,
    /// What came of it.
    pub verdict: Verdict,
    /// Why it was refused; names the rule and what would allow it.
    pub refusal: Option<&'a Refusal>,
    /// What went wrong, where nothing was refused; or how it was verified.
    pub reason: Option<&'a str>,
}

/// What came of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It was done.
    Allowed,
    /// The role doesn't allow it, or it could not be verified.
    Refused,
    /// It was allowed, and failed.
    Failed,
}

impl Verdict {
    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Keeps no records.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAudit;

impl Audit for NoAudit {
    fn is_on(&self) -> bool {
        false
    }

    fn record(&self, _: &AuditRecord<'_>) {}
}
