//! Landlock's scopes, for builds on the host's network.
//!
//! Abstract unix sockets belong to the network namespace. Two builds that both use the host's
//! could pass each other descriptors through them; in a Landlock domain of its own a build can
//! neither connect to sockets of others nor signal their processes. Others can still connect to
//! the build's.

#[cfg(test)]
mod tests;
mod version;

use landlock::{
    CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};

use super::SandboxError;
use crate::config::Layer;

/// Whether the process is scoped now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoped {
    /// It can reach no abstract socket and no process of others.
    Yes,
    /// This kernel has no such scopes (Linux 6.12 is the first).
    Unsupported,
}

/// Scopes this thread and what it starts: it reaches only abstract sockets and processes that are
/// in the scope as well.
///
/// Needs `no_new_privs`, or `CAP_SYS_ADMIN` in the user namespace.
///
/// # Errors
/// The kernel has scopes but refuses to make one.
pub fn scope() -> Result<Scoped, SandboxError> {
    if !is_available() {
        return Ok(Scoped::Unsupported);
    }
    let fail = |error: RulesetError| {
        SandboxError::new(
            Layer::Landlock,
            "scope abstract sockets and signals",
            std::io::Error::other(error),
        )
    };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.no_new_privs(false).restrict_self())
        .map_err(fail)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(Scoped::Yes),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => Ok(Scoped::Unsupported),
    }
}

/// Whether this kernel has the scopes.
#[must_use]
pub fn is_available() -> bool {
    abi() >= FIRST_ABI_WITH_SCOPES
}

/// The kernel's Landlock interface; 0 if there is none or it is switched off.
#[must_use]
pub fn abi() -> u32 {
    version::abi()
}

/// The interface of Linux 6.12.
pub const FIRST_ABI_WITH_SCOPES: u32 = 6;
