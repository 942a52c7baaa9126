//! Realisations: which path an output of a derivation came out as.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::hash::{Hash, HashAlgo, HashFormat};
use crate::signature::Signature;
use crate::store_path::{NameError, StorePath, StorePathName};

/// The name of an output, such as `out`: any text that can stand in a store path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputName(StorePathName);

impl OutputName {
    /// Checks the rules of store path names.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn new(name: &str) -> Result<Self, NameError> {
        StorePathName::new(name).map(Self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for OutputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutputName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

/// An output of a derivation, by the derivation's hash: `sha256:<base16>!<output>`.
///
/// Nix 2.4–2.34 key realisations so; since 2.35 they are keyed by derivation path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrvOutput {
    /// Masked hash modulo of the derivation.
    pub drv_hash: Hash,
    /// Which output.
    pub output: OutputName,
}

/// A text that is no [`DrvOutput`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a derivation output: expected 'sha256:<hash>!<output>'")]
pub struct DrvOutputError(pub String);

impl fmt::Display for DrvOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.drv_hash.render_prefixed(HashFormat::Base16);
        write!(f, "{hash}!{}", self.output)
    }
}

impl FromStr for DrvOutput {
    type Err = DrvOutputError;

    fn from_str(text: &str) -> Result<Self, DrvOutputError> {
        let error = || DrvOutputError(text.into());
        let (hash, output) = text.split_once('!').ok_or_else(error)?;
        Ok(Self {
            drv_hash: Hash::parse_any(hash, None).map_err(|_| error())?,
            output: output.parse().map_err(|_| error())?,
        })
    }
}

impl DrvOutput {
    /// The stand-in that Nix 2.35 sends to older clients: an all-zero hash.
    #[must_use]
    pub fn stand_in(output: OutputName) -> Self {
        let drv_hash = Hash::new(HashAlgo::Sha256, &[0; 32]).expect("32 bytes are a SHA-256");
        Self { drv_hash, output }
    }
}

/// The result of an output, without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnkeyedRealisation {
    /// What was built.
    pub out_path: StorePath,
    /// Signatures over the realisation.
    pub signatures: BTreeSet<Signature>,
}

/// The result of an output of a derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realisation {
    /// Which output.
    pub id: DrvOutput,
    /// What was built.
    pub out_path: StorePath,
    /// Signatures over the realisation.
    pub signatures: BTreeSet<Signature>,
    /// Realisations of inputs that the output refers to; filled by 2.4–2.33 only.
    pub dependent_realisations: BTreeMap<DrvOutput, StorePath>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse() {
        let text = "sha256:15e3c560894cbb27085cf65b5a2ecb18488c999497f4531b6907a7581ce6d527!baz";
        assert_eq!(text.parse::<DrvOutput>().unwrap().to_string(), text);
        for bad in [
            "",
            "sha256:15!out",
            "x!out",
            "sha256:15e3c560894cbb27085cf65b5a2ecb18488c999497f4531b6907a7581ce6d527",
        ] {
            assert!(bad.parse::<DrvOutput>().is_err(), "{bad}");
        }
    }
}
