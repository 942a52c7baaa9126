//! Paths of outputs, and the placeholders that stand for them.

use nix_base::store_path::make::{References, make_content_addressed_path, output_path_name};
use nix_base::{ContentAddress, OutputName, StoreDir, StorePath, StorePathName};

use crate::derivation::{BasicDerivation, DerivationOutput};
use crate::error::Result;

/// The path of the output `output` with content address `ca`, of the derivation
/// `drv_name`.
///
/// # Errors
/// Fails if the name gets too long, or if the method goes with another
/// algorithm only.
pub fn output_path_of_fixed(
    store_dir: &StoreDir,
    drv_name: &StorePathName,
    output: &OutputName,
    ca: &ContentAddress,
) -> Result<StorePath> {
    let name = output_path_name(drv_name.as_str(), output.as_str())?;
    Ok(make_content_addressed_path(
        store_dir,
        ca,
        &References::default(),
        &name,
    )?)
}

impl DerivationOutput {
    /// The path of this output, as `output` of the derivation `drv_name`, if it
    /// is known before the build.
    ///
    /// # Errors
    /// As [`output_path_of_fixed`].
    pub fn known_path(
        &self,
        store_dir: &StoreDir,
        drv_name: &StorePathName,
        output: &OutputName,
    ) -> Result<Option<StorePath>> {
        match self {
            Self::InputAddressed(path) => Ok(Some(path.clone())),
            Self::CaFixed(ca) => output_path_of_fixed(store_dir, drv_name, output, ca).map(Some),
            Self::CaFloating { .. } | Self::Deferred | Self::Impure { .. } => Ok(None),
        }
    }
}

impl BasicDerivation {
    /// The outputs whose paths are known before the build, as they stand in the
    /// table `DerivationOutputs`: stated ones as stated, those of fixed outputs
    /// computed from their hash.
    ///
    /// # Errors
    /// As [`output_path_of_fixed`].
    pub fn known_outputs(&self, store_dir: &StoreDir) -> Result<Vec<(OutputName, StorePath)>> {
        let mut known = Vec::with_capacity(self.outputs.len());
        for (name, output) in &self.outputs {
            if let Some(path) = output.known_path(store_dir, &self.name, name)? {
                known.push((name.clone(), path));
            }
        }
        Ok(known)
    }
}
