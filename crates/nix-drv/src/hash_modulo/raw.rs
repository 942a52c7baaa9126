//! Hashes from a canonical text, by pieces of the text itself.
//!
//! All but the input derivations, and in the masked text the outputs, is hashed as
//! it stands in the file: nothing is printed again.

use std::borrow::Cow;

use nix_base::{Hash, HashAlgo, Hasher, StoreDir, StorePath, StorePathName};

use super::{HashKind, HashMemo, HashedInputs, InputHash, MaskedHash, fixed_hash};
use crate::aterm::{Printer, RawDerivation};
use crate::derivation::from_raw::Reader;
use crate::derivation::{DerivationOutputs, DerivationType, type_of};
use crate::error::{Error, FieldError, Result};

/// A canonical text with what is needed to hash it.
pub(super) struct Canonical<'a> {
    raw: RawDerivation<'a>,
    pub(super) name: &'a StorePathName,
    pub(super) outputs: DerivationOutputs,
    own: DerivationType,
    /// Input derivations that the memo didn't have.
    missing: Vec<StorePath>,
}

impl<'a> Canonical<'a> {
    /// Takes a derivation that was parsed strictly.
    ///
    /// # Errors
    /// A string isn't what it should be, or not in canonical form.
    pub(super) fn new(
        raw: RawDerivation<'a>,
        store_dir: &StoreDir,
        name: &'a StorePathName,
        memo: &HashMemo,
    ) -> Result<Self> {
        debug_assert!(raw.strictness.is_strict());
        let reader = Reader {
            strict: true,
            store_dir,
            name,
        };
        let outputs = reader.outputs(&raw)?;
        let own = type_of(&outputs)?;
        let path = |text: &Cow<'_, [u8]>| reader.path(text).map_err(|error| error.at(0));
        for src in &raw.input_srcs {
            path(src)?;
        }
        let mut missing = Vec::new();
        for input in &raw.input_drvs {
            // What the memo knows needn't be parsed to be a path.
            if find(&input.path, store_dir, memo).is_none() {
                missing.push(path(&input.path)?);
            }
        }
        Ok(Self {
            raw,
            name,
            outputs,
            own,
            missing,
        })
    }

    /// The input derivations whose hashes count and aren't in the memo.
    pub(super) fn missing_inputs(&self) -> &[StorePath] {
        if self.own.is_fixed() {
            &[]
        } else {
            &self.missing
        }
    }

    pub(super) fn input_hash(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<InputHash> {
        if let Some(hash) = fixed_hash(&self.outputs, store_dir, self.name)? {
            return Ok(InputHash::new(&hash, HashKind::Regular, &self.outputs));
        }
        let inputs = self.hashed_inputs(store_dir, memo)?;
        let (raw, spans) = (&self.raw, &self.raw.spans);
        let mut hasher = Hasher::new(HashAlgo::Sha256);
        hasher.update(&raw.text[..spans.input_drvs.start]);
        hasher.update(&printed(&inputs));
        hasher.update(&raw.text[spans.input_drvs.end..]);
        Ok(InputHash::new(
            &hasher.finish(),
            inputs.kind(self.own),
            &self.outputs,
        ))
    }

    pub(super) fn masked_hash(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<MaskedHash> {
        let inputs = self.hashed_inputs(store_dir, memo)?;
        let hash = self.hash_masked(&inputs);
        Ok(MaskedHash {
            hash,
            kind: inputs.kind(self.own),
        })
    }

    fn hash_masked(&self, inputs: &HashedInputs<'_>) -> Hash {
        let (text, spans) = (self.raw.text, &self.raw.spans);
        let mut hasher = Hasher::new(HashAlgo::Sha256);
        hasher.update(&text[..spans.outputs.start]);
        hasher.update(&self.masked_outputs());
        hasher.update(b",");
        hasher.update(&printed(inputs));
        let mut from = spans.input_drvs.end;
        for variable in &self.raw.env {
            let names_output = |name: &Cow<'_, [u8]>| *name == variable.name;
            if self
                .raw
                .outputs
                .iter()
                .any(|output| names_output(&output.name))
            {
                hasher.update(&text[from..variable.span.start]);
                hasher.update(b"\"\"");
                from = variable.span.end;
            }
        }
        hasher.update(&text[from..]);
        hasher.finish()
    }

    /// The rows of the outputs without their paths.
    fn masked_outputs(&self) -> Vec<u8> {
        let mut printer = Printer::default();
        let mut sep = b'[';
        for row in &self.raw.outputs {
            printer.byte(sep);
            printer.raw(b"(\"");
            printer.raw(&row.name);
            printer.raw(b"\",\"\",\"");
            printer.raw(&row.hash_algo);
            printer.raw(b"\",\"");
            printer.raw(&row.hash);
            printer.raw(b"\")");
            sep = b',';
        }
        printer.close(sep);
        printer.finish()
    }

    fn hashed_inputs<'s>(
        &'s self,
        store_dir: &StoreDir,
        memo: &'s HashMemo,
    ) -> Result<HashedInputs<'s>> {
        let mut inputs = HashedInputs {
            wanted: Vec::with_capacity(self.raw.wanted.len()),
            is_deferred: self.raw.is_dynamic(),
        };
        for input in &self.raw.input_drvs {
            let wanted = self.raw.wanted(input).iter().map(AsRef::as_ref);
            let path = || -> Result<StorePath> {
                let parsed = store_dir.parse(&input.path).map_err(FieldError::from);
                parsed.map_err(|error| error.at(self.raw.spans.input_drvs.start))
            };
            match find(&input.path, store_dir, memo) {
                Some(hash) => inputs.push(hash, wanted, path)?,
                None => return Err(Error::UnknownInput(path()?)),
            }
        }
        inputs.sort();
        Ok(inputs)
    }
}

/// The hash of the derivation at a full path.
fn find<'m>(path: &[u8], store_dir: &StoreDir, memo: &'m HashMemo) -> Option<&'m InputHash> {
    let base_name = path
        .strip_prefix(store_dir.as_str().as_bytes())?
        .strip_prefix(b"/")?;
    memo.find_base_name(base_name)
}

fn printed(inputs: &HashedInputs<'_>) -> Vec<u8> {
    let mut printer = Printer::with_capacity(inputs.wanted.len() * 80 + 2);
    inputs.print(&mut printer);
    printer.finish()
}
