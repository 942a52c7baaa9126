//! Who asks for a build, as far as that changes how it runs.
//!
//! A client with full rights gets what real Nix gives. One without is held to what follows
//! from the derivation alone: it can't learn what others have built, name things, or reach
//! what the operator didn't list.

use std::collections::BTreeSet;

use nix_base::{StorePath, StorePathSet};
use serde::{Deserialize, Serialize};

/// The one who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// Builds are joined only by those with the same scope; `None` is one of them.
    pub scope: Option<String>,
    /// Outputs that the requester doesn't know to be valid: they are built again, and the
    /// valid ones stay as they are.
    pub hidden: StorePathSet,
    /// Whether the derivation's path is known to be right: only then it becomes the
    /// outputs' deriver, and names a kept log.
    pub is_vouched_for: bool,
    /// What the build may not do.
    pub restrictions: Option<Restrictions>,
}

/// Bounds of builds for requesters without full rights. The sandbox is as strict as it can
/// be, whatever the operator accepts for others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Restrictions {
    /// Variables that a builder may get from outside; their values come from the setting
    /// `impure-env` alone.
    pub impure_env_vars: BTreeSet<Vec<u8>>,
    /// The network of fixed-output and impure builds.
    pub network: NetworkRight,
    /// Whether contents may be addressed by MD5 and SHA-1.
    pub weak_hashes: bool,
    /// What a derivation may require of the machine.
    pub system_features: BTreeSet<String>,
}

/// What builds may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NetworkRight {
    /// Nothing.
    #[default]
    None,
    /// Public addresses, for builtin fetchers only: they check each address.
    Public,
    /// Whatever the machine reaches, private and link-local addresses included.
    Any,
}

impl Default for Requester {
    /// One with full rights.
    fn default() -> Self {
        Self {
            scope: None,
            hidden: StorePathSet::new(),
            is_vouched_for: true,
            restrictions: None,
        }
    }
}

impl Requester {
    /// Whether `path`, which is valid, is to be treated as if it weren't.
    #[must_use]
    pub fn hides(&self, path: &StorePath) -> bool {
        self.hidden.contains(path)
    }
}

/// [`Requester`] in a file.
#[derive(Serialize, Deserialize)]
struct Stored {
    scope: Option<String>,
    hidden: Vec<String>,
    is_vouched_for: bool,
    restrictions: Option<Restrictions>,
}

impl Requester {
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        let stored = Stored {
            scope: self.scope.clone(),
            hidden: self.hidden.iter().map(StorePath::base_name).collect(),
            is_vouched_for: self.is_vouched_for,
            restrictions: self.restrictions.clone(),
        };
        postcard::to_stdvec(&stored).ok()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = postcard::from_bytes(bytes).ok()?;
        let hidden = stored.hidden.iter();
        Some(Self {
            scope: stored.scope,
            hidden: hidden
                .map(|name| StorePath::from_base_name(name).ok())
                .collect::<Option<_>>()?,
            is_vouched_for: stored.is_vouched_for,
            restrictions: stored.restrictions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requester_comes_back_as_it_was() {
        let requester = Requester {
            scope: Some("alice".to_owned()),
            hidden: ["i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt"
                .parse()
                .unwrap()]
            .into(),
            is_vouched_for: false,
            restrictions: Some(Restrictions {
                network: NetworkRight::Public,
                impure_env_vars: [b"http_proxy".to_vec()].into(),
                ..Restrictions::default()
            }),
        };
        let bytes = requester.to_bytes().unwrap();
        assert_eq!(Requester::from_bytes(&bytes), Some(requester));
        assert_eq!(Requester::from_bytes(&bytes[..3]), None);
    }
}
