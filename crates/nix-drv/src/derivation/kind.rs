//! Which kinds of outputs go together, and what follows for the derivation.

use nix_base::HashAlgo;

use super::{BasicDerivation, DerivationOutput, DerivationOutputs};
use crate::error::{Error, Result};

/// The one kind that all outputs of a derivation are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DerivationType {
    /// Paths follow from the derivation.
    InputAddressed,
    /// They will, once the inputs are built.
    Deferred,
    /// One output of known content.
    CaFixed,
    /// Paths follow from contents that are not known yet.
    CaFloating,
    /// As floating, without sandbox.
    Impure,
}

impl DerivationType {
    /// Whether the paths follow from the contents.
    pub fn is_content_addressed(self) -> bool {
        matches!(self, Self::CaFixed | Self::CaFloating | Self::Impure)
    }

    /// Whether the content is known beforehand.
    pub fn is_fixed(self) -> bool {
        self == Self::CaFixed
    }

    /// Whether the output paths are known before the build.
    pub fn has_known_output_paths(self) -> bool {
        matches!(self, Self::InputAddressed | Self::CaFixed)
    }

    /// Whether the builder is kept from the network.
    pub fn is_sandboxed(self) -> bool {
        !matches!(self, Self::CaFixed | Self::Impure)
    }
}

impl BasicDerivation {
    /// The type of the derivation.
    ///
    /// # Errors
    /// The rule that its outputs break, in real Nix's words.
    pub fn derivation_type(&self) -> Result<DerivationType> {
        type_of(&self.outputs)
    }
}

/// The type of a derivation with these outputs.
pub(crate) fn type_of(outputs: &DerivationOutputs) -> Result<DerivationType> {
    let mut floating: Option<HashAlgo> = None;
    let mut found: Option<DerivationType> = None;
    for output in outputs.values() {
        let kind = match output {
            DerivationOutput::InputAddressed(_) => DerivationType::InputAddressed,
            DerivationOutput::CaFixed(_) => DerivationType::CaFixed,
            DerivationOutput::CaFloating { .. } => DerivationType::CaFloating,
            DerivationOutput::Deferred => DerivationType::Deferred,
            DerivationOutput::Impure { .. } => DerivationType::Impure,
        };
        if found.is_some_and(|found| found != kind) {
            return Err(Error::MixedOutputs);
        }
        found = Some(kind);
        if let DerivationOutput::CaFloating { algo, .. } = output
            && floating.replace(*algo).is_some_and(|other| other != *algo)
        {
            return Err(Error::MixedHashAlgorithms);
        }
    }
    let found = found.ok_or(Error::NoOutputs)?;
    if found == DerivationType::CaFixed {
        if outputs.len() > 1 {
            return Err(Error::SeveralFixedOutputs);
        }
        if outputs.keys().any(|name| name.as_str() != "out") {
            return Err(Error::FixedOutputNotOut);
        }
    }
    Ok(found)
}
