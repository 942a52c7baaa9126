//! Why a role doesn't get what it asks for.

use std::fmt;

/// An operation that was refused: what, by which rule, and what would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule of `docs/trust.md`.
    pub rule: Rule,
    /// What was refused and why; one line without an end.
    pub what: String,
    /// What would allow it, if anything does.
    pub remedy: Option<String>,
}

/// The rules that operations are refused by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The role lacks the capability.
    Capability,
    /// Imports by content address alone.
    ContentAddress,
    /// Imports by signature.
    Signature,
    /// Paths outside of the view.
    View,
    /// Output paths that don't follow from the derivation.
    OutputPath,
    /// A derivation without evidence, or with evidence that proves something else.
    Evidence,
    /// What a verified build may not do.
    Confinement,
    /// More than the role's quota.
    Quota,
}

impl Rule {
    /// Its name in records and messages.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Capability => "SEC-20",
            Self::ContentAddress => "SEC-21",
            Self::Signature => "SEC-22",
            Self::View => "SEC-24",
            Self::OutputPath => "SEC-30",
            Self::Evidence => "SEC-31",
            Self::Confinement => "SEC-32",
            Self::Quota => "SEC-48",
        }
    }
}

impl Refusal {
    /// A refusal that nothing would lift.
    #[must_use]
    pub fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self {
            rule,
            what: what.into(),
            remedy: None,
        }
    }

    /// Says what would allow it.
    #[must_use]
    pub fn unless(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.rule.id())?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy} would allow it"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}
