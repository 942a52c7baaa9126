//! Evidence that the store has.

use nix_base::StorePath;
use nix_drv::proof::{Proof, ProofText, input_text};
use nix_drv::{BasicDerivation, Derivation, HashMemo, Strictness};
use nix_store_core::Lock;

use super::Guard;
use crate::builds::read_derivation_file;
use crate::server::ServeError;

/// What a derivation file shows.
pub(super) struct ProofOnFile {
    pub(super) proof: Proof,
    /// Whether the file's path is the one that follows from its text.
    pub(super) is_path_right: bool,
}

impl Guard<'_> {
    /// The proof that the derivation file at `path` is, with those of its inputs; `None` if
    /// there is none that the client sees, or it is no evidence.
    pub(super) fn proof_on_file(
        &self,
        path: &StorePath,
    ) -> Result<Option<ProofOnFile>, ServeError> {
        if self.valid(&[path.clone()].into(), Lock::Yes)?.is_empty() {
            return Ok(None);
        }
        // Whatever is wrong with it: then it shows nothing.
        Ok(self.read_proof(path).unwrap_or_else(|error| {
            tracing::debug!(%error, "a derivation file is no evidence");
            None
        }))
    }

    fn read_proof(&self, path: &StorePath) -> Result<Option<ProofOnFile>, Wrong> {
        let dir = self.dir();
        let drv = self.read_drv(path)?;
        // Whatever is in it: a text counts only if the output paths follow from its hash.
        let mut memo = self.hashes().borrow_mut();
        let inputs = drv.input_drvs.keys().cloned();
        memo.load(inputs, dir, |path| read_derivation_file(self.store(), path))?;
        let proof = Proof::of(&drv, |path| {
            let input = self.read_drv(path)?;
            Ok::<_, Wrong>(input_text(&input, dir, &memo)?)
        })?;
        Ok(Some(ProofOnFile {
            proof,
            is_path_right: drv.store_path(dir)? == *path,
        }))
    }

    pub(super) fn read_drv(&self, path: &StorePath) -> Result<Derivation, Wrong> {
        let text = read_derivation_file(self.store(), path)?;
        let drv = Derivation::parse_file(&text, self.dir(), path, Strictness::Strict)?;
        Ok(drv)
    }

    /// The text of a derivation without input derivations, for proofs of what needs it.
    pub(super) fn text_of_leaf(&self, drv: &BasicDerivation) -> Option<ProofText> {
        let text = input_text(&Derivation::from(drv.clone()), self.dir(), &HashMemo::new());
        text.ok().map(ProofText::new)
    }
}

/// Why a file is no evidence.
pub(super) type Wrong = Box<dyn std::error::Error + Send + Sync>;
