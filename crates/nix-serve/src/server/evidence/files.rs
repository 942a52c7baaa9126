//! Evidence that the store has, and the texts that a key has shown.

use nix_base::StorePath;
use nix_drv::proof::{Proof, TextHash, input_text};
use nix_drv::{BasicDerivation, Derivation, HashMemo, Strictness};
use nix_store_core::{Lock, Result};

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
    ) -> std::result::Result<Option<ProofOnFile>, ServeError> {
        if self.valid(&[path.clone()].into(), Lock::Yes)?.is_empty() {
            return Ok(None);
        }
        // Whatever is wrong with it: then it shows nothing.
        Ok(self.read_proof(path).unwrap_or_else(|error| {
            tracing::debug!(%error, "a derivation file is no evidence");
            None
        }))
    }

    fn read_proof(&self, path: &StorePath) -> std::result::Result<Option<ProofOnFile>, Wrong> {
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

    pub(super) fn read_drv(&self, path: &StorePath) -> std::result::Result<Derivation, Wrong> {
        let text = read_derivation_file(self.store(), path)?;
        let drv = Derivation::parse_file(&text, self.dir(), path, Strictness::Strict)?;
        Ok(drv)
    }

    /// The text of a derivation without input derivations, for proofs of what needs it.
    pub(super) fn text_of_leaf(&self, drv: &BasicDerivation) -> Option<Vec<u8>> {
        input_text(&Derivation::from(drv.clone()), self.dir(), &HashMemo::new()).ok()
    }

    /// A text that the key has shown before.
    pub(super) fn known_text(&self, hash: &TextHash) -> Option<Vec<u8>> {
        let find = || self.trust()?.text(&self.reader(), hash);
        find().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look up the text of a proof");
            None
        })
    }

    /// Those of `hashes` that the key has to send.
    pub(in crate::server) fn missing_texts(
        &self,
        hashes: &std::collections::BTreeSet<TextHash>,
    ) -> Result<std::collections::BTreeSet<TextHash>> {
        self.trust()?.missing_texts(&self.reader(), hashes)
    }

    /// Keeps texts of a request that was found to be right.
    pub(in crate::server) fn keep_texts(&self, texts: &[Vec<u8>]) -> Result<()> {
        if texts.is_empty() {
            return Ok(());
        }
        let texts = texts.iter().map(Vec::as_slice);
        self.trust()?.add_texts(&self.reader(), texts)
    }

    /// Who is to know that a text is here.
    fn reader(&self) -> String {
        let scope = self.role().scope().or_else(|| self.account());
        scope.unwrap_or_else(|| "everybody".to_owned())
    }
}

/// Why a file is no evidence.
pub(super) type Wrong = Box<dyn std::error::Error + Send + Sync>;
