//! Who the builder is told to build for.

use std::collections::BTreeSet;

use nix_base::StorePathSet;
use nix_build::{NetworkRight, Requester, Restrictions};

use super::Guard;
use crate::policy::Capability;

impl Guard<'_> {
    /// The client as builders know it. `hidden` are outputs that it doesn't see;
    /// `is_vouched_for` tells whether the derivation's path is known to be right, and
    /// `features` what this machine offers to builds.
    pub(in crate::server) fn requester(
        &self,
        hidden: StorePathSet,
        is_vouched_for: bool,
        features: impl FnOnce() -> BTreeSet<String>,
    ) -> Requester {
        let is_free = self.role.allows(Capability::BuildAny);
        Requester {
            scope: self.role.scope(),
            hidden,
            is_vouched_for: is_free || is_vouched_for,
            restrictions: (!is_free).then(|| self.restrictions(features)),
        }
    }

    fn restrictions(&self, features: impl FnOnce() -> BTreeSet<String>) -> Restrictions {
        let variables = self.role.impure_env_vars.iter();
        Restrictions {
            impure_env_vars: variables.map(|name| name.clone().into_bytes()).collect(),
            network: match self.role.allows(Capability::Network) {
                true => NetworkRight::Public,
                false => NetworkRight::None,
            },
            weak_hashes: self.role.weak_hashes,
            system_features: self.role.system_features.clone().unwrap_or_else(features),
        }
    }
}
