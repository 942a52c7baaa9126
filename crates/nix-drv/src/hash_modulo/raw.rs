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
use crate::error::Result;

/// A canonical text with what is needed to hash it.
pub(super) struct Canonical<'a> {
    raw: RawDerivation<'a>,
    pub(super) name: &'a StorePathName,
    pub(super) outputs: DerivationOutputs,
    own: DerivationType,
    inputs: Vec<StorePath>,
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
        let inputs = raw
            .input_drvs
            .iter()
            .map(|input| path(&input.path))
            .collect::<Result<_>>()?;
        Ok(Self {
            raw,
            name,
            outputs,
            own,
            inputs,
        })
    }

    /// The input derivations whose hashes count.
    pub(super) fn inputs(&self) -> &[StorePath] {
        if self.own.is_fixed() {
            &[]
        } else {
            &self.inputs
        }
    }

    pub(super) fn input_hash(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<InputHash> {
        if let Some(hash) = fixed_hash(&self.outputs, store_dir, self.name)? {
            return Ok(InputHash::new(&hash, HashKind::Regular, &self.outputs));
        }
        let inputs = self.hashed_inputs(memo)?;
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

    pub(super) fn masked_hash(&self, memo: &HashMemo) -> Result<MaskedHash> {
        let inputs = self.hashed_inputs(memo)?;
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

    fn hashed_inputs<'s>(&'s self, memo: &'s HashMemo) -> Result<HashedInputs<'s>> {
        let mut inputs = HashedInputs {
            wanted: Vec::with_capacity(self.raw.wanted.len()),
            is_deferred: self.raw.is_dynamic(),
        };
        for (path, input) in self.inputs.iter().zip(&self.raw.input_drvs) {
            let wanted = self.raw.wanted(input).iter().map(AsRef::as_ref);
            inputs.push(path, memo.expect(path)?, wanted)?;
        }
        inputs.sort();
        Ok(inputs)
    }
}

fn printed(inputs: &HashedInputs<'_>) -> Vec<u8> {
    let mut printer = Printer::with_capacity(inputs.wanted.len() * 80 + 2);
    inputs.print(&mut printer);
    printer.finish()
}
