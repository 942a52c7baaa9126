//! The hash of a derivation modulo how its fixed outputs come about.
//!
//! The path of an input-addressed output follows from the derivation's text, with
//! two changes. Its own output paths are left out, as they are what is looked for;
//! and each input derivation is replaced by its own hash modulo, so that the path
//! doesn't depend on how a fixed output below is fetched:
//!
//! ```text
//! modulo(drv) = sha256("fixed:out:" method algo ":" hash ":" path)    one fixed output
//!             = sha256(text, inputs replaced)                         else
//! masked(drv) = sha256(text, inputs replaced, output paths left out)
//! inputs replaced: for each (input, wanted) the pair (modulo(input), wanted), sorted;
//!             equal hashes united; inputs of which nothing is wanted are left out
//! ```
//!
//! Hashes live in a [`HashMemo`] that the caller owns. [`HashMemo::load`] fills it
//! along the graph of derivations, without recursion.

use std::collections::HashMap;

use nix_base::{Hash, HashAlgo, HashFormat, OutputName, StoreDir, StorePath};

use crate::aterm::{Masked, Printer};
use crate::derivation::{
    BasicDerivation, Derivation, DerivationOutput, DerivationOutputs, DerivationType,
};
use crate::error::{Error, Result};
use crate::outputs::output_path_of_fixed;

mod graph;
mod memo_key;
mod raw;

use memo_key::BaseNameState;

pub use graph::{ComputedOutput, MAX_HELD, PendingOutputs, Visited, visit_graph};

/// Whether output paths follow from a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// They do.
    Regular,
    /// They don't, as something below isn't known before it is built. The number
    /// serves as the key of realisations all the same (Nix 2.4 to 2.34).
    Deferred,
}

/// What stands for a derivation among the inputs of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputHash {
    /// In base 16, as it goes into the texts of others.
    digits: [u8; 64],
    kind: HashKind,
    /// The outputs, unless it is just the one called `out`.
    outputs: Option<Box<[OutputName]>>,
}

impl InputHash {
    fn new(hash: &Hash, kind: HashKind, outputs: &DerivationOutputs) -> Self {
        let is_plain = outputs.len() == 1 && outputs.keys().all(|name| name.as_str() == "out");
        Self {
            digits: hash
                .render(HashFormat::Base16)
                .as_bytes()
                .try_into()
                .expect("a SHA-256 has 64 digits"),
            kind,
            outputs: (!is_plain).then(|| outputs.keys().cloned().collect()),
        }
    }

    /// The hash modulo, in base 16.
    pub fn as_base16(&self) -> &str {
        std::str::from_utf8(&self.digits).expect("the digits are ASCII")
    }

    /// Whether paths of derivations that depend on this one are known.
    pub fn kind(&self) -> HashKind {
        self.kind
    }

    /// Whether the derivation has this output.
    pub fn has_output(&self, name: &[u8]) -> bool {
        match &self.outputs {
            None => name == b"out",
            Some(outputs) => outputs
                .iter()
                .any(|output| output.as_str().as_bytes() == name),
        }
    }
}

/// The hash that the output paths of a derivation follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedHash {
    /// The hash, a SHA-256.
    pub hash: Hash,
    /// Whether there are paths at all.
    pub kind: HashKind,
}

/// The hashes of derivations that may be inputs of others, by path.
#[derive(Clone, Debug, Default)]
pub struct HashMemo {
    /// By base name, so that a path in a text is found without parsing it.
    hashes: HashMap<Box<[u8]>, InputHash, BaseNameState>,
}

impl HashMemo {
    /// An empty memo.
    pub fn new() -> Self {
        Self::default()
    }

    /// The hash of the derivation at `path`, if it was put in.
    pub fn find(&self, path: &StorePath) -> Option<&InputHash> {
        self.find_base_name(path.base_name().as_bytes())
    }

    /// The same for the base name of a path, if it is one.
    fn find_base_name(&self, base_name: &[u8]) -> Option<&InputHash> {
        self.hashes.get(base_name)
    }

    /// Puts in the hash of the derivation at `path`.
    pub fn insert(&mut self, path: &StorePath, hash: InputHash) {
        self.hashes
            .insert(path.base_name().into_bytes().into(), hash);
    }

    /// Takes out the hash of the derivation at `path`, if it was put in.
    pub fn remove(&mut self, path: &StorePath) -> Option<InputHash> {
        self.hashes.remove(path.base_name().as_bytes())
    }

    /// Number of hashes.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Puts in the hashes of `roots` and all that those take. `read` supplies the
    /// text of a `.drv` file.
    ///
    /// # Errors
    /// `read` fails, or what it supplies isn't a derivation with a hash.
    pub fn load<E: Into<crate::error::ReadError>>(
        &mut self,
        roots: impl IntoIterator<Item = StorePath>,
        store_dir: &StoreDir,
        read: impl FnMut(&StorePath) -> Result<Vec<u8>, E>,
    ) -> Result<()> {
        visit_graph(roots, store_dir, self, read, |_| Ok(()))
    }

    fn expect(&self, path: &StorePath) -> Result<&InputHash> {
        self.find(path)
            .ok_or_else(|| Error::UnknownInput(path.clone()))
    }
}

/// The list that stands in place of the input derivations: pairs of a hash and a
/// wanted output. Sorted and freed of duplicates, it has entries of equal hash
/// united, and those with nothing wanted are gone.
#[derive(Debug, Default)]
struct HashedInputs<'a> {
    /// The first digits once more as a number, by which sorting is quick.
    wanted: Vec<(u64, &'a [u8; 64], &'a [u8])>,
    is_deferred: bool,
}

impl<'a> HashedInputs<'a> {
    fn push(
        &mut self,
        hash: &'a InputHash,
        wanted: impl Iterator<Item = &'a [u8]>,
        drv: impl FnOnce() -> Result<StorePath>,
    ) -> Result<()> {
        self.is_deferred |= hash.kind == HashKind::Deferred;
        let first = hash.digits.first_chunk().expect("there are 64 digits");
        let first = u64::from_be_bytes(*first);
        for output in wanted {
            if !hash.has_output(output) {
                return Err(Error::NoHash {
                    output: output.into(),
                    drv: drv()?,
                });
            }
            self.wanted.push((first, &hash.digits, output));
        }
        Ok(())
    }

    fn of(drv: &'a Derivation, memo: &'a HashMemo) -> Result<Self> {
        let mut inputs = Self {
            wanted: Vec::new(),
            is_deferred: drv.is_dynamic(),
        };
        for (path, node) in &drv.input_drvs {
            let names = node.outputs.iter().map(|name| name.as_str().as_bytes());
            inputs.push(memo.expect(path)?, names, || Ok(path.clone()))?;
        }
        inputs.sort();
        Ok(inputs)
    }

    fn sort(&mut self) {
        self.wanted.sort_unstable();
        self.wanted.dedup();
    }

    fn print(&self, printer: &mut Printer) {
        printer.byte(b'[');
        let mut previous = None;
        for (_, digits, output) in &self.wanted {
            if previous == Some(digits) {
                printer.byte(b',');
            } else {
                if previous.is_some() {
                    printer.raw(b"]),");
                }
                printer.raw(b"(\"");
                printer.raw(*digits);
                printer.raw(b"\",[");
                previous = Some(digits);
            }
            printer.byte(b'"');
            printer.raw(output);
            printer.byte(b'"');
        }
        if previous.is_some() {
            printer.raw(b"])");
        }
        printer.byte(b']');
    }

    /// The kind of a derivation with these inputs.
    fn kind(&self, own: DerivationType) -> HashKind {
        match own {
            DerivationType::CaFixed => HashKind::Regular,
            DerivationType::InputAddressed if !self.is_deferred => HashKind::Regular,
            // A derivation that could be given paths by its inputs may still
            // state none; whoever looks for its paths computes them.
            DerivationType::Deferred if !self.is_deferred => HashKind::Regular,
            _ => HashKind::Deferred,
        }
    }
}

impl Derivation {
    /// The text that is hashed for this derivation, with its inputs replaced by
    /// their hashes from `memo`.
    ///
    /// # Errors
    /// A hash is missing, or an output that is wanted; or a fixed output has no
    /// path.
    pub fn modulo_text(
        &self,
        store_dir: &StoreDir,
        memo: &HashMemo,
        masked: Masked,
    ) -> Result<Vec<u8>> {
        self.text_with(&HashedInputs::of(self, memo)?, store_dir, masked)
    }

    fn text_with(
        &self,
        inputs: &HashedInputs<'_>,
        store_dir: &StoreDir,
        masked: Masked,
    ) -> Result<Vec<u8>> {
        let mut printer = Printer::default();
        printer.derivation(
            &self.basic,
            self.is_dynamic(),
            store_dir,
            masked,
            |printer| {
                inputs.print(printer);
            },
        )?;
        Ok(printer.finish())
    }

    /// What stands for this derivation among the inputs of others.
    ///
    /// # Errors
    /// As [`modulo_text`](Self::modulo_text), and if the outputs don't go
    /// together.
    #[doc(alias = "hashDerivationModulo")]
    pub fn input_hash(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<InputHash> {
        let own = self.derivation_type()?;
        if let Some(hash) = self.fixed_hash(store_dir)? {
            return Ok(InputHash::new(&hash, HashKind::Regular, &self.outputs));
        }
        let inputs = HashedInputs::of(self, memo)?;
        let text = self.text_with(&inputs, store_dir, Masked::No)?;
        let hash = Hash::of(HashAlgo::Sha256, &text);
        Ok(InputHash::new(&hash, inputs.kind(own), &self.outputs))
    }

    /// The text whose hash [`input_hash`](Self::input_hash) is.
    ///
    /// # Errors
    /// As there.
    pub fn input_text(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<Vec<u8>> {
        self.derivation_type()?;
        match fixed_line(&self.outputs, store_dir, &self.name)? {
            Some(line) => Ok(line.into_bytes()),
            None => self.modulo_text(store_dir, memo, Masked::No),
        }
    }

    /// The hash that the output paths follow from.
    ///
    /// # Errors
    /// As [`input_hash`](Self::input_hash).
    pub fn masked_hash(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<MaskedHash> {
        let own = self.derivation_type()?;
        let inputs = HashedInputs::of(self, memo)?;
        let text = self.text_with(&inputs, store_dir, Masked::Yes)?;
        Ok(MaskedHash {
            hash: Hash::of(HashAlgo::Sha256, &text),
            kind: inputs.kind(own),
        })
    }

    /// The masked hash as releases have it in which, of several inputs of equal
    /// hash, the last one in the order of paths takes it all (up to 2.7, and 2.35).
    pub(crate) fn masked_hash_last_wins(
        &self,
        store_dir: &StoreDir,
        memo: &HashMemo,
    ) -> Result<MaskedHash> {
        let mut last: HashMap<&[u8; 64], &StorePath> = HashMap::new();
        for path in self.input_drvs.keys() {
            last.insert(&memo.expect(path)?.digits, path);
        }
        let own = self.derivation_type()?;
        let mut inputs = HashedInputs {
            wanted: Vec::new(),
            is_deferred: self.is_dynamic(),
        };
        for (path, node) in &self.input_drvs {
            let hash = memo.expect(path)?;
            if last.get(&hash.digits) == Some(&path) {
                let names = node.outputs.iter().map(|name| name.as_str().as_bytes());
                inputs.push(hash, names, || Ok(path.clone()))?;
            }
        }
        inputs.sort();
        let text = self.text_with(&inputs, store_dir, Masked::Yes)?;
        Ok(MaskedHash {
            hash: Hash::of(HashAlgo::Sha256, &text),
            kind: inputs.kind(own),
        })
    }

    /// The hash under which Nix 2.4 to 2.34 keep realisations of this
    /// derivation: the masked one, or that of its fixed output.
    ///
    /// # Errors
    /// As [`input_hash`](Self::input_hash).
    #[doc(alias = "staticOutputHashes")]
    pub fn realisation_hash(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<Hash> {
        self.derivation_type()?;
        match self.fixed_hash(store_dir)? {
            Some(hash) => Ok(hash),
            None => Ok(self.masked_hash(store_dir, memo)?.hash),
        }
    }
}

impl BasicDerivation {
    /// The hash that the output paths would follow from if this were a whole
    /// derivation. One that had input derivations once has other paths.
    ///
    /// # Errors
    /// The outputs don't go together, or a fixed output has no path.
    pub fn masked_hash(&self, store_dir: &StoreDir) -> Result<MaskedHash> {
        let inputs = HashedInputs::default();
        let kind = inputs.kind(self.derivation_type()?);
        let mut printer = Printer::default();
        printer.derivation(self, false, store_dir, Masked::Yes, |p| inputs.print(p))?;
        Ok(MaskedHash {
            hash: Hash::of(HashAlgo::Sha256, &printer.finish()),
            kind,
        })
    }

    /// The hash that stands for a fixed output, if there is one.
    ///
    /// # Errors
    /// The output has no path.
    pub fn fixed_hash(&self, store_dir: &StoreDir) -> Result<Option<Hash>> {
        fixed_hash(&self.outputs, store_dir, &self.name)
    }
}

fn fixed_hash(
    outputs: &DerivationOutputs,
    store_dir: &StoreDir,
    drv_name: &nix_base::StorePathName,
) -> Result<Option<Hash>> {
    let line = fixed_line(outputs, store_dir, drv_name)?;
    Ok(line.map(|line| Hash::of(HashAlgo::Sha256, line.as_bytes())))
}

/// The line that is hashed for a fixed output, if there is one.
pub(crate) fn fixed_line(
    outputs: &DerivationOutputs,
    store_dir: &StoreDir,
    drv_name: &nix_base::StorePathName,
) -> Result<Option<String>> {
    let Some((name, DerivationOutput::CaFixed(ca))) = outputs.first_key_value() else {
        return Ok(None);
    };
    let path = output_path_of_fixed(store_dir, drv_name, name, ca)?;
    Ok(Some(format!(
        "fixed:out:{}{}:{}",
        ca.method.prefix(),
        ca.hash.render_prefixed(HashFormat::Base16),
        store_dir.display(&path),
    )))
}

#[cfg(test)]
mod tests;
