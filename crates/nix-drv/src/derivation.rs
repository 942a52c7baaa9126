//! What a derivation is, once its paths and hashes are understood.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use bstr::BString;
use nix_base::{
    ContentAddress, ContentAddressMethod, HashAlgo, OutputName, StoreDir, StorePath, StorePathName,
    StorePathSet,
};

use crate::aterm::{self, RawDerivation, Strictness};
use crate::error::{Error, Result};

pub(crate) mod from_raw;
mod kind;

pub use kind::DerivationType;
pub(crate) use kind::type_of;

/// The outputs by name.
pub type DerivationOutputs = BTreeMap<OutputName, DerivationOutput>;

/// How the path of an output comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DerivationOutput {
    /// It follows from the derivation, and is stated.
    InputAddressed(StorePath),
    /// It follows from the content, which is known beforehand.
    #[doc(alias = "CAFixed")]
    CaFixed(ContentAddress),
    /// It follows from the content, which isn't known before the build.
    #[doc(alias = "CAFloating")]
    CaFloating {
        /// What of the output is hashed.
        method: ContentAddressMethod,
        /// With which algorithm.
        algo: HashAlgo,
    },
    /// It would follow from the derivation, were it not for an input whose own
    /// path isn't known before it is built.
    Deferred,
    /// As floating, and the builder may do what it likes.
    Impure {
        /// What of the output is hashed.
        method: ContentAddressMethod,
        /// With which algorithm.
        algo: HashAlgo,
    },
}

/// What is wanted of an input derivation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputNode {
    /// The outputs themselves.
    pub outputs: BTreeSet<OutputName>,
    /// Outputs that are derivations in turn, with what is wanted of those.
    pub children: BTreeMap<OutputName, Self>,
}

/// A derivation without input derivations: all that it needs is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicDerivation {
    /// The derivation's name: that of its path without `.drv`.
    pub name: StorePathName,
    /// What it makes.
    pub outputs: DerivationOutputs,
    /// Store objects that it needs.
    pub input_srcs: StorePathSet,
    /// The system that the builder runs on, such as `x86_64-linux`.
    #[doc(alias = "system")]
    pub platform: BString,
    /// The program that builds.
    pub builder: BString,
    /// The builder's arguments, without its own name.
    pub args: Vec<BString>,
    /// The builder's environment.
    pub env: BTreeMap<BString, BString>,
}

/// A derivation as its `.drv` file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// All but the input derivations.
    pub basic: BasicDerivation,
    /// Derivations whose outputs it needs.
    pub input_drvs: BTreeMap<StorePath, InputNode>,
}

/// The environment variable that holds structured attributes, as JSON.
pub(crate) const JSON_VARIABLE: &[u8] = b"__json";

impl BasicDerivation {
    /// The structured attributes as their JSON text, if the derivation has any.
    pub fn structured_attrs(&self) -> Option<&[u8]> {
        self.env.get(JSON_VARIABLE).map(|json| json.as_slice())
    }

    /// Whether the builder is one of those that run inside Nix.
    pub fn is_builtin(&self) -> bool {
        self.builder.starts_with(b"builtin:")
    }

    /// The value of an environment variable.
    pub fn env_var(&self, name: &str) -> Option<&[u8]> {
        self.env.get(name.as_bytes()).map(|value| value.as_slice())
    }
}

impl Derivation {
    /// Parses the text of a `.drv` file. `name` is the derivation's name, see
    /// [`drv_name`].
    ///
    /// # Errors
    /// Fails where the text isn't a derivation; in strict mode also if it isn't
    /// byte for byte what [`to_aterm`](Self::to_aterm) would give.
    pub fn parse(
        text: &[u8],
        store_dir: &StoreDir,
        name: &StorePathName,
        strictness: Strictness,
    ) -> Result<Self> {
        let raw = RawDerivation::parse(text, strictness)?;
        Self::from_raw(raw, store_dir, name)
    }

    /// Parses the `.drv` file at `path`, from whose name comes the derivation's.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), with the path; and if `path` is no `.drv` path.
    pub fn parse_file(
        text: &[u8],
        store_dir: &StoreDir,
        path: &StorePath,
        strictness: Strictness,
    ) -> Result<Self> {
        let name = drv_name(path)?;
        Self::parse(text, store_dir, &name, strictness).map_err(|source| Error::InFile {
            path: store_dir.print(path),
            source: Box::new(source),
        })
    }

    /// The canonical text, as it is stored.
    ///
    /// # Errors
    /// Fails if a fixed output has no path, as its name is too long, for
    /// instance.
    pub fn to_aterm(&self, store_dir: &StoreDir) -> Result<Vec<u8>> {
        aterm::print(self, store_dir, aterm::Masked::No)
    }

    /// The path that the derivation has as a store object.
    ///
    /// # Errors
    /// As [`to_aterm`](Self::to_aterm); and if its name is too long for `.drv`.
    pub fn store_path(&self, store_dir: &StoreDir) -> Result<StorePath> {
        let text = self.to_aterm(store_dir)?;
        self.store_path_of_text(&text, store_dir)
    }

    /// The path for a text that is already printed.
    pub(crate) fn store_path_of_text(
        &self,
        text: &[u8],
        store_dir: &StoreDir,
    ) -> Result<StorePath> {
        let name = StorePathName::new(&format!("{}.drv", self.name))?;
        let hash = nix_base::Hash::of(HashAlgo::Sha256, text);
        let references = self.references();
        Ok(nix_base::store_path::make::make_text_path(
            store_dir,
            &hash,
            &references,
            &name,
        ))
    }

    /// The references of the `.drv` file as a store object: sources and input
    /// derivations.
    pub fn references(&self) -> StorePathSet {
        self.input_srcs
            .iter()
            .chain(self.input_drvs.keys())
            .cloned()
            .collect()
    }

    /// Whether some input is an output of an output, which takes the long form.
    pub fn is_dynamic(&self) -> bool {
        self.input_drvs
            .values()
            .any(|node| !node.children.is_empty())
    }
}

impl Deref for Derivation {
    type Target = BasicDerivation;

    fn deref(&self) -> &BasicDerivation {
        &self.basic
    }
}

impl DerefMut for Derivation {
    fn deref_mut(&mut self) -> &mut BasicDerivation {
        &mut self.basic
    }
}

impl From<BasicDerivation> for Derivation {
    fn from(basic: BasicDerivation) -> Self {
        Self {
            basic,
            input_drvs: BTreeMap::new(),
        }
    }
}

/// The name of the derivation at `path`: the path's name without `.drv`.
///
/// # Errors
/// Fails if `path` isn't that of a derivation.
pub fn drv_name(path: &StorePath) -> Result<StorePathName> {
    let name = path.name().as_str().strip_suffix(".drv");
    name.and_then(|name| StorePathName::new(name).ok())
        .ok_or_else(|| Error::NotADerivationPath(path.clone()))
}

#[cfg(test)]
mod tests;
