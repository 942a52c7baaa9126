//! Paths of outputs, and the placeholders that stand for them.
//!
//! Placeholders are texts of a fixed length that stand for a path which isn't
//! known yet:
//!
//! ```text
//! own output     "/" nix32(sha256("nix-output:" output))
//! of an input    "/" nix32(sha256("nix-upstream-output:" hash of its .drv path ":" path name))
//! of an output   "/" nix32(sha256("nix-computed-output:" nix32(fold20(placeholder)) ":" output))
//! ```

use nix_base::store_path::make::{
    References, fold20, make_content_addressed_path, make_output_path, output_path_name,
};
use nix_base::{
    ContentAddress, Hash, HashAlgo, OutputName, StoreDir, StorePath, StorePathName, nix32,
};

use crate::derivation::{BasicDerivation, Derivation, DerivationOutput, drv_name};
use crate::error::Result;
use crate::hash_modulo::{HashKind, HashMemo, MaskedHash};

/// A text that stands for an output path which isn't known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placeholder([u8; 32]);

impl Placeholder {
    /// That of a derivation's own output.
    #[doc(alias = "hashPlaceholder")]
    pub fn of_own_output(output: &OutputName) -> Self {
        Self::of(&format!("nix-output:{output}"))
    }

    /// That of an output of the input derivation at `drv`.
    ///
    /// # Errors
    /// Fails if `drv` isn't the path of a derivation, or the name gets too long.
    #[doc(alias = "DownstreamPlaceholder")]
    pub fn of_input(drv: &StorePath, output: &OutputName) -> Result<Self> {
        let name = output_path_name(drv_name(drv)?.as_str(), output.as_str())?;
        Ok(Self::of(&format!(
            "nix-upstream-output:{}:{name}",
            drv.hash()
        )))
    }

    /// That of an output of a derivation that is itself still a placeholder.
    pub fn of_computed(drv: &Self, output: &OutputName) -> Self {
        let folded = nix32::encode(&fold20(&drv.0));
        Self::of(&format!("nix-computed-output:{folded}:{output}"))
    }

    fn of(text: &str) -> Self {
        let hash = Hash::of(HashAlgo::Sha256, text.as_bytes());
        Self(hash.as_bytes().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

impl std::fmt::Display for Placeholder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", nix32::encode(&self.0))
    }
}

/// The path of an input-addressed output.
///
/// # Errors
/// Fails if the name gets too long.
pub fn output_path(
    store_dir: &StoreDir,
    drv_name: &StorePathName,
    output: &OutputName,
    masked: &MaskedHash,
) -> Result<StorePath> {
    Ok(make_output_path(
        store_dir,
        output.as_str(),
        &masked.hash,
        drv_name.as_str(),
    )?)
}

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

impl Derivation {
    /// Gives deferred outputs the paths that follow from the derivation, if they
    /// do, and puts the paths into the environment. Other derivations stay as
    /// they are.
    ///
    /// The variables should be there already, if only empty: with a new variable
    /// another path would follow.
    ///
    /// # Errors
    /// Fails where [`Derivation::masked_hash`] does, or if a name gets too long.
    pub fn fill_in_outputs(&mut self, store_dir: &StoreDir, memo: &HashMemo) -> Result<()> {
        let masked = self.masked_hash(store_dir, memo)?;
        self.basic.set_deferred(store_dir, &masked)
    }
}

impl BasicDerivation {
    /// As [`Derivation::fill_in_outputs`].
    ///
    /// # Errors
    /// As there.
    pub fn fill_in_outputs(&mut self, store_dir: &StoreDir) -> Result<()> {
        let masked = self.masked_hash(store_dir)?;
        self.set_deferred(store_dir, &masked)
    }

    fn set_deferred(&mut self, store_dir: &StoreDir, masked: &MaskedHash) -> Result<()> {
        if masked.kind == HashKind::Deferred {
            return Ok(());
        }
        for (name, output) in &mut self.outputs {
            if matches!(output, DerivationOutput::Deferred) {
                let path = output_path(store_dir, &self.name, name, masked)?;
                self.env
                    .insert(name.as_str().into(), store_dir.print(&path).into());
                *output = DerivationOutput::InputAddressed(path);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_placeholders() {
        let own = |name: &str| Placeholder::of_own_output(&name.parse().unwrap()).to_string();
        assert_eq!(
            own("out"),
            "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"
        );
        assert_eq!(
            own("dev"),
            "/02qcpld1y6xhs5gz9bchpxaw0xdhmsp5dv88lh25r2ss44kh8dxz"
        );
        let foo = "j56sf12rxpcv5swr14vsjn5cwm6bj03h-foo.drv".parse().unwrap();
        let out = "out".parse().unwrap();
        assert_eq!(
            Placeholder::of_input(&foo, &out).unwrap().to_string(),
            "/164j69y6zir9z0339n8pjigg3rckinlr77bxsavzizdaaljb7nh9"
        );
        let dev = "dev".parse().unwrap();
        assert_eq!(
            Placeholder::of_input(&foo, &dev).unwrap().to_string(),
            "/0nr45p69vn6izw9446wsh9bng9nndhvn19kpsm4n96a5mycw0s4z"
        );
    }
}
