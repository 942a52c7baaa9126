//! From a derivation to one whose inputs are all in the store.
//!
//! Each wanted output of an input derivation becomes a source, and the placeholder
//! that stands for its path in builder, arguments and environment is replaced by
//! the path. Deferred outputs then get the paths that follow.

use std::collections::{BTreeMap, HashMap};

use bstr::BString;
use memchr::memchr_iter;
use nix_base::{OutputName, StoreDir, StorePath, StorePathSet};

use crate::derivation::{BasicDerivation, Derivation, DerivationType, InputNode};
use crate::error::{Error, ReadError, Result};
use crate::outputs::Placeholder;

impl Derivation {
    /// Whether the derivation can only be built once it is resolved: its paths, or
    /// those of its inputs, aren't known before.
    ///
    /// # Errors
    /// The outputs don't go together.
    pub fn must_be_resolved(&self) -> Result<bool> {
        let has_known_paths = match self.derivation_type()? {
            DerivationType::InputAddressed | DerivationType::CaFixed => true,
            DerivationType::Deferred | DerivationType::CaFloating | DerivationType::Impure => false,
        };
        Ok(!has_known_paths || self.is_dynamic())
    }

    /// The derivation with its input derivations replaced by what they made.
    /// `find` gives the path of an output, known or realised, if there is one.
    ///
    /// # Errors
    /// An output has no path yet ([`Error::is_not_realised`]), or `find` fails.
    #[doc(alias = "tryResolve")]
    pub fn resolve<E: Into<ReadError>>(
        &self,
        store_dir: &StoreDir,
        find: impl FnMut(&StorePath, &OutputName) -> Result<Option<StorePath>, E>,
    ) -> Result<BasicDerivation> {
        let mut resolver = Resolver {
            store_dir,
            find,
            srcs: self.input_srcs.clone(),
            rewrites: Rewrites::default(),
        };
        for (drv, node) in &self.input_drvs {
            resolver.input(drv, node, &|output| Placeholder::of_input(drv, output))?;
        }
        let Resolver { srcs, rewrites, .. } = resolver;
        let mut basic = BasicDerivation {
            name: self.name.clone(),
            outputs: self.outputs.clone(),
            input_srcs: srcs,
            platform: self.platform.clone(),
            builder: rewrites.apply(&self.builder),
            args: self.args.iter().map(|arg| rewrites.apply(arg)).collect(),
            env: rewrites.apply_to_env(&self.env),
        };
        if basic.derivation_type()? == DerivationType::Deferred {
            basic.fill_in_outputs(store_dir)?;
        }
        Ok(basic)
    }

    /// The derivation with `inputs` in place of its input derivations, and nothing
    /// rewritten: the form in which an input-addressed one is sent to be built.
    /// Its output paths don't follow from this form.
    pub fn with_inputs(&self, inputs: StorePathSet) -> BasicDerivation {
        let mut basic = self.basic.clone();
        basic.input_srcs.extend(inputs);
        basic
    }
}

struct Resolver<'r, F> {
    store_dir: &'r StoreDir,
    find: F,
    srcs: StorePathSet,
    rewrites: Rewrites,
}

impl<E: Into<ReadError>, F> Resolver<'_, F>
where
    F: FnMut(&StorePath, &OutputName) -> Result<Option<StorePath>, E>,
{
    /// One input; the depth of a node in memory is bounded by the parsers.
    fn input(
        &mut self,
        drv: &StorePath,
        node: &InputNode,
        placeholder: &dyn Fn(&OutputName) -> Result<Placeholder>,
    ) -> Result<()> {
        for output in &node.outputs {
            let path = self.find(drv, output)?;
            self.rewrites
                .add(&placeholder(output)?, self.store_dir.print(&path));
            self.srcs.insert(path);
        }
        for (output, child) in &node.children {
            let path = self.find(drv, output)?;
            let parent = placeholder(output)?;
            self.input(&path, child, &|output| {
                Ok(Placeholder::of_computed(&parent, output))
            })?;
        }
        Ok(())
    }

    fn find(&mut self, drv: &StorePath, output: &OutputName) -> Result<StorePath> {
        let found = (self.find)(drv, output).map_err(|error| Error::Read {
            path: drv.clone(),
            source: error.into(),
        })?;
        found.ok_or_else(|| Error::NotRealised {
            drv: drv.clone(),
            output: output.clone(),
        })
    }
}

/// Replacements of placeholders by paths.
#[derive(Debug, Default)]
pub struct Rewrites {
    by_placeholder: HashMap<Box<[u8]>, String>,
}

/// Bytes of a placeholder: a slash and 52 digits.
const PLACEHOLDER_LEN: usize = 53;

impl Rewrites {
    /// Replaces `placeholder` by `path`.
    pub fn add(&mut self, placeholder: &Placeholder, path: String) {
        self.by_placeholder
            .insert(placeholder.to_string().into_bytes().into(), path);
    }

    /// `text` with all placeholders replaced.
    pub fn apply(&self, text: &[u8]) -> BString {
        if self.by_placeholder.is_empty() {
            return text.into();
        }
        let mut done = 0;
        let mut rewritten = Vec::new();
        for at in memchr_iter(b'/', text) {
            let Some(candidate) = text.get(at..at + PLACEHOLDER_LEN) else {
                break;
            };
            if let Some(path) = self.by_placeholder.get(candidate)
                && at >= done
            {
                rewritten.extend_from_slice(&text[done..at]);
                rewritten.extend_from_slice(path.as_bytes());
                done = at + PLACEHOLDER_LEN;
            }
        }
        rewritten.extend_from_slice(&text[done..]);
        rewritten.into()
    }

    fn apply_to_env(&self, env: &BTreeMap<BString, BString>) -> BTreeMap<BString, BString> {
        env.iter()
            .map(|(name, value)| (self.apply(name), self.apply(value)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
