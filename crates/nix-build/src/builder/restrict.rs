//! Builds for requesters without full rights: what they may not do, and a configuration in
//! which nothing is left of what the operator accepts for others.

use std::collections::BTreeMap;

use bstr::BString;
use nix_base::{BuildStatus, HashAlgo};
use nix_drv::{BasicDerivation, DerivationOptions, DerivationOutput, DerivationType};

use crate::config::{BuildConfig, FixedOutputNetwork, SandboxMode};
use crate::failure::{BuildFailure, Result};
use crate::request::BuildRequest;
use crate::requester::{NetworkRight, Restrictions};

/// The configuration of a restricted build: the strict sandbox, nothing from the server's
/// environment, nothing kept.
pub(super) fn restricted(
    config: &BuildConfig,
    drv: &BasicDerivation,
    restrictions: &Restrictions,
) -> BuildConfig {
    let mut config = config.clone();
    config.sandbox.mode = SandboxMode::Always;
    config.sandbox.fallback = false;
    config.sandbox.accept_missing.clear();
    config.sandbox.filter_syscalls = true;
    config.sandbox.allow_new_privileges = false;
    config.sandbox.require_drop_groups = true;
    config.sandbox.allowed_impure_host_deps.clear();
    config.keep_failed = false;
    // Only what the operator wrote down counts; the search path serves to find programs.
    let path = config
        .environment
        .remove_entry(std::ffi::OsStr::new("PATH"));
    config.environment = path.into_iter().collect::<BTreeMap<_, _>>();
    config
        .system_features
        .retain(|feature| restrictions.system_features.contains(feature));
    if !may_use_network(drv, restrictions.network) {
        config.sandbox.network = FixedOutputNetwork::Off;
    }
    config
}

/// Builtin fetchers look at each address before they connect; other builders can't be held
/// to public ones.
fn may_use_network(drv: &BasicDerivation, right: NetworkRight) -> bool {
    match right {
        NetworkRight::None => false,
        NetworkRight::Public => drv.is_builtin(),
        NetworkRight::Any => true,
    }
}

/// Variables from outside that the operator listed.
pub(super) fn keep_listed_variables(options: &mut DerivationOptions, restrictions: &Restrictions) {
    options
        .impure_env_vars
        .retain(|name: &BString| restrictions.impure_env_vars.contains(name.as_slice()));
}

impl super::Job<'_> {
    /// Whether a builtin fetcher may only connect to public addresses.
    pub(super) fn public_addresses_only(&self) -> bool {
        let restrictions = self.request.requester.restrictions.as_ref();
        restrictions.is_some_and(|bounds| bounds.network != NetworkRight::Any)
    }
}

/// Refuses what a restricted requester may not ask for.
pub(super) fn check(
    request: &BuildRequest,
    options: &DerivationOptions,
    kind: DerivationType,
    restrictions: &Restrictions,
) -> Result<()> {
    let refuse = |what: &str, way_out: &str| {
        Err(BuildFailure::new(
            BuildStatus::InputRejected,
            format!(
                "derivation '{}' {what}, which this key may not (SEC-32): {way_out}",
                request.drv.name
            ),
        ))
    };
    if options.no_chroot {
        return refuse("asks for no sandbox", "remove '__noChroot'");
    }
    if !options.impure_host_deps.is_empty() {
        return refuse("asks for paths of the host", "remove '__impureHostDeps'");
    }
    if kind == DerivationType::Impure {
        return refuse("is impure", "use a fixed output");
    }
    if !restrictions.weak_hashes && has_weak_hash(&request.drv) {
        return refuse(
            "addresses its content by MD5 or SHA-1",
            "use SHA-256, or let the operator set 'weak-hashes' for the key",
        );
    }
    Ok(())
}

fn has_weak_hash(drv: &BasicDerivation) -> bool {
    let is_weak = |algo: HashAlgo| matches!(algo, HashAlgo::Md5 | HashAlgo::Sha1);
    drv.outputs.values().any(|output| match output {
        DerivationOutput::CaFixed(ca) => is_weak(ca.hash.algo()),
        DerivationOutput::CaFloating { algo, .. } | DerivationOutput::Impure { algo, .. } => {
            is_weak(*algo)
        }
        DerivationOutput::InputAddressed(_) | DerivationOutput::Deferred => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    fn drv(builder: &str) -> BasicDerivation {
        BasicDerivation {
            name: "x".parse().unwrap(),
            outputs: nix_drv::DerivationOutputs::new(),
            input_srcs: Default::default(),
            platform: "x86_64-linux".into(),
            builder: builder.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn nothing_is_left_of_what_the_operator_accepts_for_others() {
        let mut config = BuildConfig::default();
        config.sandbox.mode = SandboxMode::Never;
        config.sandbox.fallback = true;
        config.sandbox.accept_missing.insert(Layer::SyscallFilter);
        config.keep_failed = true;
        config.environment.insert("HTTP_PROXY".into(), "x".into());
        config.environment.insert("PATH".into(), "/bin".into());
        let strict = restricted(&config, &drv("/bin/sh"), &Restrictions::default());
        assert_eq!(strict.sandbox.mode, SandboxMode::Always);
        assert!(!strict.sandbox.fallback && strict.sandbox.accept_missing.is_empty());
        assert!(!strict.keep_failed && strict.system_features.is_empty());
        assert_eq!(strict.sandbox.network, FixedOutputNetwork::Off);
        assert_eq!(strict.environment.len(), 1);
    }

    #[test]
    fn public_addresses_are_for_those_who_look_at_them() {
        let right = NetworkRight::Public;
        assert!(may_use_network(&drv("builtin:fetchurl"), right));
        assert!(!may_use_network(&drv("/bin/sh"), right));
        assert!(may_use_network(&drv("/bin/sh"), NetworkRight::Any));
        assert!(!may_use_network(
            &drv("builtin:fetchurl"),
            NetworkRight::None
        ));
    }
}
