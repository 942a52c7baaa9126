//! Whether this machine may build a derivation, and how far it is to be confined.

use std::collections::BTreeSet;

use bstr::BString;
use nix_base::{BuildStatus, StorePath};
use nix_drv::{BasicDerivation, DerivationOptions, DerivationType};

use crate::config::{BuildConfig, SandboxMode};
use crate::failure::{BuildFailure, Result};

/// Whether a builder is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confined {
    /// In namespaces of its own.
    Yes,
    /// Only as another user.
    No,
}

/// Fails unless the derivation's platform and features are ones of this machine.
pub(super) fn check_machine(
    drv: &BasicDerivation,
    options: &DerivationOptions,
    kind: DerivationType,
    config: &BuildConfig,
) -> Result<()> {
    let required = options.required_features(kind);
    let has = |feature: &BString| {
        let offered = |f: &String| f.as_bytes() == feature.as_slice();
        // Nix compat: the feature that stands for the experimental one is implied by it.
        config.system_features.iter().any(offered)
            || (config.ca_derivations && feature == "ca-derivations")
    };
    let is_ours = drv.is_builtin()
        || drv.platform == config.system
        || config.extra_platforms.iter().any(|p| drv.platform == *p);
    if config.max_jobs == 0 && !drv.is_builtin() {
        return Err(BuildFailure::misc(
            "this machine builds nothing, since its setting 'max-jobs' is 0",
        ));
    }
    if is_ours && required.iter().all(has) {
        return Ok(());
    }
    let list = |features: &BTreeSet<String>| {
        let list: Vec<&str> = features.iter().map(String::as_str).collect();
        list.join(", ")
    };
    let required: BTreeSet<String> = required.iter().map(ToString::to_string).collect();
    Err(BuildFailure::new(
        BuildStatus::InputRejected,
        format!(
            "a '{}' with features {{{}}} is required to build '{}', but I am a '{}' with \
             features {{{}}}",
            drv.platform,
            list(&required),
            drv.name,
            config.system,
            list(&config.system_features),
        ),
    ))
}

/// Fails for kinds of derivations that the configuration doesn't switch on.
pub(super) fn check_kind(kind: DerivationType, config: &BuildConfig) -> Result<()> {
    let missing = match kind {
        DerivationType::CaFloating | DerivationType::Deferred if !config.ca_derivations => {
            "ca-derivations"
        }
        DerivationType::Impure if !config.impure_derivations => "impure-derivations",
        _ => return Ok(()),
    };
    Err(BuildFailure::misc(format!(
        "experimental feature '{missing}' is disabled; add it to the setting \
         'experimental-features' of the machine that builds"
    )))
}

/// Whether the builder is confined, by the operator's policy and the derivation's wish.
pub(super) fn confinement(
    drv_path: &str,
    options: &DerivationOptions,
    kind: DerivationType,
    config: &BuildConfig,
    store_is_relocated: bool,
) -> Result<Confined> {
    match config.sandbox.mode {
        SandboxMode::Always if options.no_chroot => Err(BuildFailure::misc(format!(
            "derivation '{drv_path}' has '__noChroot' set, but that's not allowed when \
             'sandbox' is 'true'"
        ))),
        SandboxMode::Always => Ok(Confined::Yes),
        // What was compiled into the inputs is true inside only.
        _ if store_is_relocated => Ok(Confined::Yes),
        SandboxMode::Relaxed if !kind.is_sandboxed() || options.no_chroot => Ok(Confined::No),
        SandboxMode::Relaxed => Ok(Confined::Yes),
        SandboxMode::Never => Ok(Confined::No),
    }
}

/// Fails if an input isn't valid; builds don't fetch.
pub(super) fn missing_input(input: &str, drv_path: &str) -> BuildFailure {
    BuildFailure::misc(format!(
        "dependency '{input}' of '{drv_path}' does not exist, and substitution is disabled"
    ))
}

/// Names under which the outputs are locked, known or not.
pub(super) fn lock_names<'o>(
    drv_path: &StorePath,
    outputs: impl Iterator<Item = (&'o str, Option<&'o StorePath>)>,
) -> Vec<String> {
    outputs
        .map(|(name, known)| match known {
            Some(path) => path.base_name(),
            None => format!("{}.{name}", drv_path.base_name()),
        })
        .collect()
}

#[cfg(test)]
mod tests;
