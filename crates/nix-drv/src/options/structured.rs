//! Attributes in the JSON of `__json`.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use nix_base::OutputName;
use nix_base::json::JsonError;
use serde_json::{Map, Value};

use super::{DerivationOptions, OptionError, OptionRef, OutputCheck, OutputChecks, References};
use crate::derivation::BasicDerivation;
use crate::error::Result;

pub(super) fn parse(
    json: &[u8],
    drv: &BasicDerivation,
    references: &References<'_>,
) -> Result<DerivationOptions> {
    let json: Value = serde_json::from_slice(json).map_err(JsonError::Syntax)?;
    let attrs = json.as_object().ok_or(JsonError::Type {
        field: "structuredAttrs",
        expected: "an object",
    })?;
    let top = Attributes {
        within: "",
        attrs,
        references,
    };
    let defaults = DerivationOptions::default();
    Ok(DerivationOptions {
        output_checks: OutputChecks::PerOutput(top.output_checks()?),
        unsafe_discard_references: top.discarded()?,
        pass_as_file: BTreeSet::new(),
        export_references_graph: top.graphs()?,
        additional_sandbox_profile: top.string("__sandboxProfile")?,
        no_chroot: top.flag("__noChroot", defaults.no_chroot)?,
        impure_host_deps: top.strings("__impureHostDeps")?,
        impure_env_vars: top.strings("impureEnvVars")?,
        allow_local_networking: top.flag(
            "__darwinAllowLocalNetworking",
            defaults.allow_local_networking,
        )?,
        required_system_features: top.strings("requiredSystemFeatures")?,
        prefer_local_build: top.flag("preferLocalBuild", defaults.prefer_local_build)?,
        allow_substitutes: top.flag("allowSubstitutes", defaults.allow_substitutes)?,
        ignored: LEGACY
            .into_iter()
            .filter(|name| drv.env_var(name).is_some())
            .collect(),
    })
}

/// Attributes that only count without structured ones.
const LEGACY: [&str; 7] = [
    "allowedReferences",
    "allowedRequisites",
    "disallowedReferences",
    "disallowedRequisites",
    "maxSize",
    "maxClosureSize",
    "passAsFile",
];

#[derive(Clone, Copy)]
struct Attributes<'j> {
    /// What the names stand in, for errors; with a dot at the end.
    within: &'j str,
    attrs: &'j Map<String, Value>,
    references: &'j References<'j>,
}

impl<'j> Attributes<'j> {
    fn wrong(&self, name: &str, expected: &'static str) -> OptionError {
        OptionError::Type {
            attribute: format!("{}{name}", self.within),
            expected,
        }
    }

    fn find<T>(
        &self,
        name: &str,
        expected: &'static str,
        convert: impl FnOnce(&'j Value) -> Option<T>,
    ) -> Result<Option<T>, OptionError> {
        let Some(value) = self.attrs.get(name) else {
            return Ok(None);
        };
        convert(value)
            .map(Some)
            .ok_or_else(|| self.wrong(name, expected))
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, OptionError> {
        Ok(self
            .find(name, "a Boolean", Value::as_bool)?
            .unwrap_or(default))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, OptionError> {
        self.find(name, "a non-negative integer", Value::as_u64)
    }

    fn string(&self, name: &str) -> Result<BString, OptionError> {
        Ok(self
            .find(name, "a string", Value::as_str)?
            .unwrap_or_default()
            .into())
    }

    fn string_list(&self, name: &str) -> Result<Option<Vec<&'j str>>, OptionError> {
        self.find(name, "a list of strings", |value| {
            value.as_array()?.iter().map(Value::as_str).collect()
        })
    }

    fn strings(&self, name: &str) -> Result<BTreeSet<BString>, OptionError> {
        Ok(self
            .string_list(name)?
            .unwrap_or_default()
            .into_iter()
            .map(BString::from)
            .collect())
    }

    fn refs(&self, name: &str) -> Result<Option<BTreeSet<OptionRef>>, OptionError> {
        let Some(words) = self.string_list(name)? else {
            return Ok(None);
        };
        let attribute = || format!("{}{name}", self.within);
        let reference = |word: &str| self.references.object_or_output(word.as_bytes(), attribute);
        Ok(Some(
            words.into_iter().map(reference).collect::<Result<_, _>>()?,
        ))
    }

    fn object(&self, name: &str) -> Result<Option<&'j Map<String, Value>>, OptionError> {
        self.find(name, "an object", Value::as_object)
    }

    fn output_checks(&self) -> Result<BTreeMap<OutputName, OutputCheck>, OptionError> {
        let mut checks = BTreeMap::new();
        for (output, value) in self.object("outputChecks")?.into_iter().flatten() {
            let within = format!("outputChecks.{output}");
            let attrs = value
                .as_object()
                .ok_or_else(|| self.wrong(&within, "an object"))?;
            let within = format!("{within}.");
            let inner = Attributes {
                within: &within,
                attrs,
                references: self.references,
            };
            checks.insert(output_name("outputChecks", output)?, inner.output_check()?);
        }
        Ok(checks)
    }

    fn output_check(&self) -> Result<OutputCheck, OptionError> {
        Ok(OutputCheck {
            ignore_self_refs: self.flag("ignoreSelfRefs", false)?,
            max_size: self.number("maxSize")?,
            max_closure_size: self.number("maxClosureSize")?,
            allowed_references: self.refs("allowedReferences")?,
            disallowed_references: self.refs("disallowedReferences")?.unwrap_or_default(),
            allowed_requisites: self.refs("allowedRequisites")?,
            disallowed_requisites: self.refs("disallowedRequisites")?.unwrap_or_default(),
        })
    }

    fn discarded(&self) -> Result<BTreeMap<OutputName, bool>, OptionError> {
        let mut discarded = BTreeMap::new();
        for (output, value) in self
            .object("unsafeDiscardReferences")?
            .into_iter()
            .flatten()
        {
            let within = format!("unsafeDiscardReferences.{output}");
            let value = value
                .as_bool()
                .ok_or_else(|| self.wrong(&within, "a Boolean"))?;
            discarded.insert(output_name("unsafeDiscardReferences", output)?, value);
        }
        Ok(discarded)
    }

    fn graphs(&self) -> Result<BTreeMap<BString, BTreeSet<OptionRef>>, OptionError> {
        let mut graphs = BTreeMap::new();
        // Nix compat: anything but an object says nothing.
        let wanted = self.attrs.get("exportReferencesGraph");
        for (key, value) in wanted.and_then(Value::as_object).into_iter().flatten() {
            let mut paths = BTreeSet::new();
            let attribute = format!("exportReferencesGraph.{key}");
            self.graph_paths(&attribute, value, &mut paths)?;
            graphs.insert(BString::from(key.as_str()), paths);
        }
        Ok(graphs)
    }

    /// A path or a nested list of paths; the JSON parser has bounded the depth.
    fn graph_paths(
        &self,
        attribute: &str,
        value: &Value,
        paths: &mut BTreeSet<OptionRef>,
    ) -> Result<(), OptionError> {
        match value {
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.graph_paths(attribute, item, paths)),
            Value::String(text) => {
                let object = self.references.object(text.as_bytes());
                paths.insert(object.ok_or_else(|| OptionError::Reference {
                    attribute: attribute.into(),
                    reference: text.as_str().into(),
                })?);
                Ok(())
            }
            _ => Err(self.wrong(attribute, "a path or a list of paths")),
        }
    }
}

fn output_name(attribute: &'static str, name: &str) -> Result<OutputName, OptionError> {
    OutputName::new(name).map_err(|_| OptionError::OutputName {
        attribute,
        output: name.into(),
    })
}
