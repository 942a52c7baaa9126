//! The attributes of a derivation that steer how it is built.
//!
//! A derivation without structured attributes has them in its environment: lists are
//! split at white space, and a truth value holds if it is exactly `1`. One with
//! structured attributes has them in the JSON of the variable `__json`, with types
//! that must be right.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use nix_base::{Hash, HashAlgo, HashFormat, OutputName, StoreDir};

use crate::derivation::{BasicDerivation, Derivation, DerivationType};
use crate::error::Result;

mod env;
mod json;
mod references;
mod structured;

pub use json::options_to_json;
pub use references::{OptionRef, References};

/// What a derivation asks of its builder and of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivationOptions {
    /// What outputs may refer to, and how large they may be.
    pub output_checks: OutputChecks,
    /// Outputs whose contents aren't scanned for references.
    pub unsafe_discard_references: BTreeMap<OutputName, bool>,
    /// Variables that are written to files for the builder.
    pub pass_as_file: BTreeSet<BString>,
    /// Files that list the closures of paths, by file name or attribute.
    pub export_references_graph: BTreeMap<BString, BTreeSet<OptionRef>>,
    /// More rules for the sandbox of macOS.
    pub additional_sandbox_profile: BString,
    /// No sandbox, where the settings allow that.
    pub no_chroot: bool,
    /// Paths of the host that the sandbox of macOS lets through.
    pub impure_host_deps: BTreeSet<BString>,
    /// Variables that a fixed-output builder gets from outside.
    pub impure_env_vars: BTreeSet<BString>,
    /// Local network in the sandbox of macOS.
    pub allow_local_networking: bool,
    /// What the machine must offer, as far as it is stated;
    /// see [`required_features`](Self::required_features).
    pub required_system_features: BTreeSet<BString>,
    /// Not to be offered to other machines.
    pub prefer_local_build: bool,
    /// Outputs may be substituted.
    pub allow_substitutes: bool,
    /// Attributes beside `__json` that don't count there, and deserve a warning.
    pub ignored: Vec<&'static str>,
}

/// The checks of all outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputChecks {
    /// The same for all outputs.
    ForAll(OutputCheck),
    /// Some for each output; none for those that aren't named.
    PerOutput(BTreeMap<OutputName, OutputCheck>),
}

/// What is checked of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputCheck {
    /// The output's own path doesn't count among its requisites.
    pub ignore_self_refs: bool,
    /// Most bytes of the archive.
    pub max_size: Option<u64>,
    /// Most bytes of all archives in the closure.
    pub max_closure_size: Option<u64>,
    /// All that it may refer to.
    pub allowed_references: Option<BTreeSet<OptionRef>>,
    /// What it must not refer to.
    pub disallowed_references: BTreeSet<OptionRef>,
    /// All that may be in its closure.
    pub allowed_requisites: Option<BTreeSet<OptionRef>>,
    /// What must not be in its closure.
    pub disallowed_requisites: BTreeSet<OptionRef>,
}

impl Default for DerivationOptions {
    fn default() -> Self {
        Self {
            // Nix compat: requisites of the older attributes leave out the output.
            output_checks: OutputChecks::ForAll(OutputCheck {
                ignore_self_refs: true,
                ..OutputCheck::default()
            }),
            unsafe_discard_references: BTreeMap::new(),
            pass_as_file: BTreeSet::new(),
            export_references_graph: BTreeMap::new(),
            additional_sandbox_profile: BString::default(),
            no_chroot: false,
            impure_host_deps: BTreeSet::new(),
            impure_env_vars: BTreeSet::new(),
            allow_local_networking: false,
            required_system_features: BTreeSet::new(),
            prefer_local_build: false,
            allow_substitutes: true,
            ignored: Vec::new(),
        }
    }
}

impl DerivationOptions {
    /// The features that a machine must have to build a derivation of this type:
    /// the stated ones, and `ca-derivations` where paths aren't known before.
    pub fn required_features(&self, own: DerivationType) -> BTreeSet<BString> {
        let mut features = self.required_system_features.clone();
        if !own.has_known_output_paths() {
            features.insert("ca-derivations".into());
        }
        features
    }

    /// The checks of one output.
    pub fn check_of(&self, output: &OutputName) -> Option<&OutputCheck> {
        match &self.output_checks {
            OutputChecks::ForAll(check) => Some(check),
            OutputChecks::PerOutput(checks) => checks.get(output),
        }
    }

    fn parse(drv: &BasicDerivation, references: &References<'_>) -> Result<Self> {
        match drv.structured_attrs() {
            Some(json) => structured::parse(json, drv, references),
            None => env::parse(drv, references),
        }
    }
}

impl BasicDerivation {
    /// The attributes that steer the build.
    ///
    /// # Errors
    /// Names the attribute that isn't what it should be.
    pub fn options(&self, store_dir: &StoreDir) -> Result<DerivationOptions> {
        DerivationOptions::parse(self, &References::new(store_dir))
    }
}

impl Derivation {
    /// The attributes that steer the build; placeholders of inputs in them become
    /// the outputs that they stand for.
    ///
    /// # Errors
    /// Names the attribute that isn't what it should be.
    pub fn options(&self, store_dir: &StoreDir) -> Result<DerivationOptions> {
        let mut references = References::new(store_dir);
        for (drv, node) in &self.input_drvs {
            for output in &node.outputs {
                references.add_input(drv, output)?;
            }
        }
        DerivationOptions::parse(&self.basic, &references)
    }
}

/// The name of the file that the variable `name` is written to.
pub fn pass_as_file_name(name: &[u8]) -> String {
    format!(
        ".attr-{}",
        Hash::of(HashAlgo::Sha256, name).render(HashFormat::Nix32)
    )
}

/// Why an attribute can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// Another type of JSON value.
    #[error("attribute '{attribute}' must be {expected}")]
    Type {
        /// The attribute, with those that it is in.
        attribute: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Names and paths don't come in pairs.
    #[error("odd number of tokens in 'exportReferencesGraph': '{0}'")]
    OddTokens(BString),
    /// A file name that can't be one.
    #[error("invalid file name '{0}' in 'exportReferencesGraph'")]
    FileName(BString),
    /// Neither a path in the store nor the name of an output.
    #[error("attribute '{attribute}' has an illegal reference specifier '{reference}'")]
    Reference {
        /// The attribute, with those that it is in.
        attribute: String,
        /// What it holds.
        reference: BString,
    },
    /// The key isn't the name of an output.
    #[error("attribute '{attribute}' names the impossible output '{output}'")]
    OutputName {
        /// The attribute.
        attribute: &'static str,
        /// What it holds.
        output: BString,
    },
}

#[cfg(test)]
mod tests;
