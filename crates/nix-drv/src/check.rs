//! What is checked when a `.drv` file enters a store.
//!
//! | outputs | check |
//! |---|---|
//! | input-addressed | the path is the one that follows; its variable holds it |
//! | fixed | its variable holds the path that follows from the hash |
//! | others | none |
//!
//! Where releases differ, this is what 2.8, 2.26 and the newest ones do: a variable
//! that is missing is refused, and a deferred output that could be given a path is
//! let pass.

use nix_base::{OutputName, StoreDir, StorePath};

use crate::derivation::{Derivation, DerivationOutput, drv_name};
use crate::error::{Error, ReadError, Result};
use crate::hash_modulo::{HashKind, HashMemo, MaskedHash};
use crate::outputs::{output_path, output_path_of_fixed};

/// Checks the derivation `drv` that is to be valid at `drv_path`, and gives the
/// rows for the table `DerivationOutputs`. `read` supplies the texts of input
/// derivations that `memo` lacks.
///
/// # Errors
/// The rule that is broken, in real Nix's words; or an input can't be read.
#[doc(alias = "checkDerivationOutputs")]
#[doc(alias = "checkInvariants")]
pub fn check_derivation<E: Into<ReadError>>(
    drv: &Derivation,
    drv_path: &StorePath,
    store_dir: &StoreDir,
    memo: &mut HashMemo,
    read: impl FnMut(&StorePath) -> Result<Vec<u8>, E>,
) -> Result<Vec<(OutputName, StorePath)>> {
    let check = Check {
        drv,
        drv_path,
        store_dir,
    };
    check.name()?;
    let is_input_addressed =
        |output: &DerivationOutput| matches!(output, DerivationOutput::InputAddressed(_));
    drv.derivation_type()?;
    if drv.outputs.values().any(is_input_addressed) {
        memo.load(drv.input_drvs.keys().cloned(), store_dir, read)?;
        let masked = drv.masked_hash(store_dir, memo)?;
        check.outputs(Some(&masked), memo)?;
    } else {
        check.outputs(None, memo)?;
    }
    drv.known_outputs(store_dir)
}

struct Check<'c> {
    drv: &'c Derivation,
    drv_path: &'c StorePath,
    store_dir: &'c StoreDir,
}

impl Check<'_> {
    fn full_drv_path(&self) -> String {
        self.store_dir.print(self.drv_path)
    }

    fn name(&self) -> Result<()> {
        if drv_name(self.drv_path)? == self.drv.name {
            return Ok(());
        }
        Err(Error::NameMismatch {
            drv: self.full_drv_path(),
            name: self.drv.name.to_string(),
        })
    }

    /// `masked` is there if some output is input-addressed.
    fn outputs(&self, masked: Option<&MaskedHash>, memo: &HashMemo) -> Result<()> {
        for (name, output) in &self.drv.outputs {
            match (output, masked) {
                (DerivationOutput::InputAddressed(stated), Some(masked)) => {
                    self.input_addressed(name, stated, masked, memo)?;
                    self.variable(name, stated)?;
                }
                (DerivationOutput::CaFixed(ca), _) => {
                    let path = output_path_of_fixed(self.store_dir, &self.drv.name, name, ca)?;
                    self.variable(name, &path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn input_addressed(
        &self,
        name: &OutputName,
        stated: &StorePath,
        masked: &MaskedHash,
        memo: &HashMemo,
    ) -> Result<()> {
        let stated_text = self.store_dir.print(stated);
        if masked.kind == HashKind::Deferred {
            return Err(Error::ShouldBeDeferred {
                drv: self.full_drv_path(),
                stated: stated_text,
            });
        }
        let expected = output_path(self.store_dir, &self.drv.name, name, masked)?;
        if expected == *stated {
            return Ok(());
        }
        let other = self.drv.masked_hash_last_wins(self.store_dir, memo)?;
        let other = output_path(self.store_dir, &self.drv.name, name, &other)?;
        Err(Error::IncorrectOutput {
            drv: self.full_drv_path(),
            stated: stated_text,
            expected: self.store_dir.print(&expected),
            hint: if other == *stated { LAST_WINS } else { "" },
        })
    }

    /// The variable named like an output holds its path.
    fn variable(&self, name: &OutputName, expected: &StorePath) -> Result<()> {
        let value = self.drv.env_var(name.as_str());
        // Nix compat: the value is compared as a path, not as a text.
        if value
            .and_then(|value| self.store_dir.parse(value).ok())
            .as_ref()
            == Some(expected)
        {
            return Ok(());
        }
        Err(Error::IncorrectVariable {
            drv: self.full_drv_path(),
            name: name.clone(),
            expected: self.store_dir.print(expected),
        })
    }
}

/// What explains an output path that isn't the expected one, but not by chance.
const LAST_WINS: &str =
    " (the stated path comes from a release that doesn't unite inputs of equal hash)";

#[cfg(test)]
mod tests;
