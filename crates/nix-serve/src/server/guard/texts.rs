//! Texts that clients have shown, on their way into the memory of keys.
//!
//! A client that has a graph built shows a new text or two with each derivation. They are
//! kept together: one transaction for many. What is lost when the server is killed is sent
//! again, as any text that isn't known.

use std::collections::{BTreeMap, BTreeSet};

use nix_drv::proof::{ProofText, TextHash};
use nix_store_core::Result;

use super::Guard;

/// Texts that aren't written yet.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    texts: BTreeMap<TextHash, ProofText>,
    bytes: usize,
}

impl Unwritten {
    fn is_enough(&self) -> bool {
        self.bytes > MOST_BYTES || self.texts.len() > MOST_TEXTS
    }
}

impl Guard<'_> {
    /// A text that the key has shown before.
    pub(in crate::server) fn known_text(&self, hash: &TextHash) -> Option<ProofText> {
        if let Some(text) = self.unwritten.borrow().texts.get(hash) {
            return Some(text.clone());
        }
        let find = || self.trust()?.text(&self.reader(), hash);
        let found = find().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look up the text of a proof");
            None
        });
        found.map(ProofText::new)
    }

    /// Those of `hashes` that the key has to send.
    pub(in crate::server) fn missing_texts(
        &self,
        hashes: &BTreeSet<TextHash>,
    ) -> Result<BTreeSet<TextHash>> {
        self.write_texts()?;
        self.trust()?.missing_texts(&self.reader(), hashes)
    }

    /// Keeps texts of a request that was found to be right, sooner or later.
    pub(in crate::server) fn keep_texts(&self, texts: Vec<ProofText>) -> Result<()> {
        // First, so that no more than these wait if they can't be written.
        if self.unwritten.borrow().is_enough() {
            self.write_texts()?;
        }
        let mut unwritten = self.unwritten.borrow_mut();
        for text in texts {
            let len = text.as_bytes().len();
            if unwritten.texts.insert(*text.hash(), text).is_none() {
                unwritten.bytes += len;
            }
        }
        Ok(())
    }

    /// Writes what is kept in memory only.
    pub(in crate::server) fn write_texts(&self) -> Result<()> {
        let mut unwritten = self.unwritten.borrow_mut();
        if unwritten.texts.is_empty() {
            return Ok(());
        }
        self.trust()?
            .add_texts(&self.reader(), unwritten.texts.values())?;
        // The client counts on them: until they are written, they stay here.
        *unwritten = Unwritten::default();
        Ok(())
    }

    /// Who is to know that a text is here.
    fn reader(&self) -> String {
        let scope = self.role().scope().or_else(|| self.account());
        scope.unwrap_or_else(|| "everybody".to_owned())
    }
}

const MOST_TEXTS: usize = 256;
const MOST_BYTES: usize = 1 << 20;
