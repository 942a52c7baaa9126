//! Hashes from a canonical text, by pieces of the text itself.
//!
//! All but the input derivations, and in the masked text the outputs, is hashed as
//! it stands in the file: nothing is printed again.

use std::borrow::Cow;

use nix_base::{HashAlgo, Hasher, StoreDir, StorePath, StorePathName};

use super::{HashKind, HashMemo, HashedInputs, InputHash, MaskedHash, fixed_hash, fixed_line};
use crate::aterm::{Escapes, HalfParsed, Printer, RawDerivation, Strictness};
use crate::derivation::from_raw::Reader;
use crate::derivation::{DerivationOutputs, DerivationType, type_of};
use crate::error::{Error, Result};

/// A canonical text with what is needed to hash it.
pub(super) struct Canonical<'a> {
    raw: RawDerivation<'a>,
    pub(super) name: &'a StorePathName,
    pub(super) outputs: DerivationOutputs,
    own: DerivationType,
    /// The list of inputs, unless the hash doesn't take it.
    inputs: Option<PrintedInputs>,
}

/// What came of reading a text.
pub(super) enum Reading<'a> {
    /// All is there.
    Done(Box<Canonical<'a>>),
    /// The memo lacks these inputs; the text was read no further.
    Missing(Vec<StorePath>),
}

/// The list that stands in place of the input derivations.
struct PrintedInputs {
    text: Vec<u8>,
    kind: HashKind,
}

impl<'a> Canonical<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// It isn't canonical, or an input lacks an output that is wanted.
    pub(super) fn read(
        text: &'a [u8],
        store_dir: &StoreDir,
        name: &'a StorePathName,
        memo: &HashMemo,
    ) -> Result<Reading<'a>> {
        let half = HalfParsed::begin(text, Strictness::Strict, Escapes::Keep)?;
        let reader = Reader {
            strict: true,
            store_dir,
            name,
        };
        let outputs = reader.outputs(&half.drv)?;
        let own = type_of(&outputs)?;
        let inputs = if own.is_fixed() {
            None
        } else {
            match print_inputs(&half.drv, own, &reader, memo)? {
                Ok(printed) => Some(printed),
                Err(missing) => return Ok(Reading::Missing(missing)),
            }
        };
        let raw = half.finish()?;
        let path = |text: &Cow<'_, [u8]>| reader.path(text).map_err(|error| error.at(0));
        for src in &raw.input_srcs {
            path(src)?;
        }
        if own.is_fixed() {
            for input in &raw.input_drvs {
                path(&input.path)?;
            }
        }
        Ok(Reading::Done(Box::new(Self {
            raw,
            name,
            outputs,
            own,
            inputs,
        })))
    }

    pub(super) fn input_hash(&self, store_dir: &StoreDir) -> Result<InputHash> {
        let Some(inputs) = &self.inputs else {
            let hash = fixed_hash(&self.outputs, store_dir, self.name)?;
            let hash = hash.ok_or(Error::NoOutputs)?;
            return Ok(InputHash::new(&hash, HashKind::Regular, &self.outputs));
        };
        let (raw, spans) = (&self.raw, &self.raw.spans);
        let mut hasher = Hasher::new(HashAlgo::Sha256);
        hasher.update(&raw.text[..spans.input_drvs.start]);
        hasher.update(&inputs.text);
        hasher.update(&raw.text[spans.input_drvs.end..]);
        Ok(InputHash::new(&hasher.finish(), inputs.kind, &self.outputs))
    }

    /// The text whose hash [`input_hash`](Self::input_hash) is.
    pub(super) fn input_text(&self, store_dir: &StoreDir) -> Result<Vec<u8>> {
        let Some(inputs) = &self.inputs else {
            let line = fixed_line(&self.outputs, store_dir, self.name)?;
            return Ok(line.ok_or(Error::NoOutputs)?.into_bytes());
        };
        let (raw, spans) = (&self.raw, &self.raw.spans);
        let pieces = [
            &raw.text[..spans.input_drvs.start],
            &inputs.text,
            &raw.text[spans.input_drvs.end..],
        ];
        Ok(pieces.concat())
    }

    /// The text whose hash [`masked_hash`](Self::masked_hash) is, and the kind of that.
    pub(super) fn masked_text(
        &self,
        store_dir: &StoreDir,
        memo: &HashMemo,
    ) -> Result<(Vec<u8>, HashKind)> {
        let printed;
        let inputs = match &self.inputs {
            Some(inputs) => inputs,
            None => {
                printed = self.print_inputs(store_dir, memo)?;
                &printed
            }
        };
        let mut text = Vec::with_capacity(self.raw.text.len() + inputs.text.len());
        self.masked_pieces(&inputs.text, |piece| text.extend_from_slice(piece));
        Ok((text, inputs.kind))
    }

    pub(super) fn masked_hash(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<MaskedHash> {
        let printed;
        let inputs = match &self.inputs {
            Some(inputs) => inputs,
            None => {
                printed = self.print_inputs(store_dir, memo)?;
                &printed
            }
        };
        let mut hasher = Hasher::new(HashAlgo::Sha256);
        self.masked_pieces(&inputs.text, |piece| hasher.update(piece));
        Ok(MaskedHash {
            hash: hasher.finish(),
            kind: inputs.kind,
        })
    }

    /// The inputs of a fixed output, whose own hash doesn't take them.
    fn print_inputs(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<PrintedInputs> {
        let reader = Reader {
            strict: true,
            store_dir,
            name: self.name,
        };
        match print_inputs(&self.raw, self.own, &reader, memo)? {
            Ok(inputs) => Ok(inputs),
            Err(missing) => {
                let missing = missing.into_iter().next();
                Err(missing.map_or(Error::NoOutputs, Error::UnknownInput))
            }
        }
    }

    /// The masked text, piece by piece.
    fn masked_pieces(&self, inputs: &[u8], mut take: impl FnMut(&[u8])) {
        let (text, spans) = (self.raw.text, &self.raw.spans);
        take(&text[..spans.outputs.start]);
        take(&self.masked_outputs());
        take(b",");
        take(inputs);
        let mut from = spans.input_drvs.end;
        for variable in &self.raw.env {
            let names_output = |name: &Cow<'_, [u8]>| *name == variable.name;
            if self
                .raw
                .outputs
                .iter()
                .any(|output| names_output(&output.name))
            {
                take(&text[from..variable.span.start]);
                take(b"\"\"");
                from = variable.span.end;
            }
        }
        take(&text[from..]);
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
}

/// The list of hashed inputs, or those that the memo lacks.
fn print_inputs(
    raw: &RawDerivation<'_>,
    own: DerivationType,
    reader: &Reader<'_>,
    memo: &HashMemo,
) -> Result<std::result::Result<PrintedInputs, Vec<StorePath>>> {
    let mut inputs = HashedInputs {
        wanted: Vec::with_capacity(raw.wanted.len()),
        is_deferred: raw.is_dynamic(),
    };
    let mut missing = Vec::new();
    for input in &raw.input_drvs {
        let path = || {
            let path = reader.path(&input.path);
            path.map_err(|error| error.at(raw.spans.input_drvs.start))
        };
        // What the memo knows needn't be parsed to be a path.
        match find(&input.path, reader.store_dir, memo) {
            Some(hash) => {
                let wanted = raw.wanted(input).iter().map(AsRef::as_ref);
                inputs.push(hash, wanted, path)?;
            }
            None => missing.push(path()?),
        }
    }
    if !missing.is_empty() {
        return Ok(Err(missing));
    }
    inputs.sort();
    let mut printer = Printer::with_capacity(inputs.wanted.len() * 88 + 2);
    inputs.print(&mut printer);
    Ok(Ok(PrintedInputs {
        text: printer.finish(),
        kind: inputs.kind(own),
    }))
}

/// The hash of the derivation at a full path.
fn find<'m>(path: &[u8], store_dir: &StoreDir, memo: &'m HashMemo) -> Option<&'m InputHash> {
    let base_name = path
        .strip_prefix(store_dir.as_str().as_bytes())?
        .strip_prefix(b"/")?;
    memo.find_base_name(base_name)
}
