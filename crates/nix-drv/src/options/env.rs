//! Attributes in the environment.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;

use super::{DerivationOptions, OptionError, OptionRef, OutputCheck, OutputChecks, References};
use crate::derivation::BasicDerivation;
use crate::error::Result;

pub(super) fn parse(
    drv: &BasicDerivation,
    references: &References<'_>,
) -> Result<DerivationOptions> {
    let env = Env { drv, references };
    let defaults = DerivationOptions::default();
    Ok(DerivationOptions {
        output_checks: OutputChecks::ForAll(OutputCheck {
            ignore_self_refs: true,
            max_size: None,
            max_closure_size: None,
            allowed_references: env.references("allowedReferences")?,
            disallowed_references: env.references("disallowedReferences")?.unwrap_or_default(),
            allowed_requisites: env.references("allowedRequisites")?,
            disallowed_requisites: env.references("disallowedRequisites")?.unwrap_or_default(),
        }),
        unsafe_discard_references: BTreeMap::new(),
        pass_as_file: env.words("passAsFile"),
        export_references_graph: env.graphs()?,
        additional_sandbox_profile: drv.env_var("__sandboxProfile").unwrap_or_default().into(),
        no_chroot: env.flag("__noChroot", defaults.no_chroot),
        impure_host_deps: env.words("__impureHostDeps"),
        impure_env_vars: env.words("impureEnvVars"),
        allow_local_networking: env.flag(
            "__darwinAllowLocalNetworking",
            defaults.allow_local_networking,
        ),
        required_system_features: env.words("requiredSystemFeatures"),
        prefer_local_build: env.flag("preferLocalBuild", defaults.prefer_local_build),
        allow_substitutes: env.flag("allowSubstitutes", defaults.allow_substitutes),
        ignored: Vec::new(),
    })
}

struct Env<'e> {
    drv: &'e BasicDerivation,
    references: &'e References<'e>,
}

impl Env<'_> {
    fn flag(&self, name: &str, default: bool) -> bool {
        self.drv
            .env_var(name)
            .map_or(default, |value| value == b"1")
    }

    fn words(&self, name: &str) -> BTreeSet<BString> {
        words(self.drv.env_var(name).unwrap_or_default())
            .map(BString::from)
            .collect()
    }

    /// No such variable isn't the same as an empty list.
    fn references(&self, name: &str) -> Result<Option<BTreeSet<OptionRef>>> {
        let Some(value) = self.drv.env_var(name) else {
            return Ok(None);
        };
        let reference = |word| self.references.object_or_output(word, || name.to_owned());
        Ok(Some(words(value).map(reference).collect::<Result<_, _>>()?))
    }

    fn graphs(&self) -> Result<BTreeMap<BString, BTreeSet<OptionRef>>> {
        let value = self
            .drv
            .env_var("exportReferencesGraph")
            .unwrap_or_default();
        let words: Vec<_> = words(value).collect();
        let (pairs, rest) = words.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(OptionError::OddTokens(value.into()).into());
        }
        let mut graphs = BTreeMap::new();
        for [file, path] in pairs {
            if !is_file_name(file) {
                return Err(OptionError::FileName(BString::from(*file)).into());
            }
            let path = self
                .references
                .object(path)
                .ok_or_else(|| OptionError::Reference {
                    attribute: "exportReferencesGraph".into(),
                    reference: BString::from(*path),
                })?;
            // Nix compat: of two graphs for the same file the last one counts.
            graphs.insert(BString::from(*file), BTreeSet::from([path]));
        }
        Ok(graphs)
    }
}

/// Words between blanks, tabs and line breaks.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .filter(|word| !word.is_empty())
}

/// `[A-Za-z_][A-Za-z0-9_.-]*`
fn is_file_name(name: &[u8]) -> bool {
    let Some((first, rest)) = name.split_first() else {
        return false;
    };
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (first.is_ascii_alphabetic() || *first == b'_') && rest.iter().all(is_inner)
}
