//! Proofs on the wire, where texts that the other side has are left out.
//!
//! ```text
//! set<path> sources
//! u64 count { string hash (32 bytes), u64 1 and string text, or u64 0,
//!             u64 count { string output } }              inputs, ascending by hash
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use nix_base::wire::MAX_PATHS;
use nix_base::{OutputName, StoreDir, StorePathSet, WireError, WireRead, WireWrite};

use super::{Proof, ProofInput, ProofText, TextHash};
use crate::derivation::from_raw::output_name;
use crate::error::{Error, FieldError};
use crate::wire::{ITEM_COST, MAX_OUTPUTS};

/// Most bytes of a proof, with its texts; each item counts for
/// [`ITEM_COST`] more.
pub const MAX_PROOF_BYTES: u64 = 64 << 20;

/// A proof as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedProof {
    /// The sources of the derivation itself.
    pub sources: StorePathSet,
    /// Its direct inputs, ascending by hash.
    pub inputs: Vec<PackedInput>,
}

/// One input derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedInput {
    /// The SHA-256 of its text.
    pub hash: TextHash,
    /// The text, unless the other side has it.
    pub text: Option<ProofText>,
    /// The outputs that are used.
    pub wanted: BTreeSet<OutputName>,
}

/// Why a packed proof is no proof yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// Texts that were not sent and are not known here either.
    #[error("{} texts of inputs are neither sent nor known here", .0.len())]
    Missing(BTreeSet<TextHash>),
    /// More than [`MAX_PROOF_BYTES`] of texts.
    #[error("the texts of a proof are longer than {MAX_PROOF_BYTES} bytes")]
    TooLarge,
}

impl PackedProof {
    /// Packs `proof` without the texts that `is_known` there.
    pub fn pack(proof: &Proof, mut is_known: impl FnMut(&TextHash) -> bool) -> Self {
        let mut inputs: BTreeMap<TextHash, PackedInput> = BTreeMap::new();
        for input in &proof.inputs {
            let hash = *input.text.hash();
            let packed = inputs.entry(hash).or_insert_with(|| PackedInput {
                hash,
                text: (!is_known(&hash)).then(|| input.text.clone()),
                wanted: BTreeSet::new(),
            });
            packed.wanted.extend(input.wanted.iter().cloned());
        }
        Self {
            sources: proof.sources.clone(),
            inputs: inputs.into_values().collect(),
        }
    }

    /// The proof with the texts that `lookup` has for hashes that came alone.
    ///
    /// # Errors
    /// All the texts that are missing, or that there is too much text.
    pub fn unpack(
        self,
        mut lookup: impl FnMut(&TextHash) -> Option<ProofText>,
    ) -> Result<Proof, UnpackError> {
        let mut missing = BTreeSet::new();
        let mut inputs = Vec::new();
        let mut left = MAX_PROOF_BYTES;
        for input in self.inputs {
            let Some(text) = input.text.or_else(|| lookup(&input.hash)) else {
                missing.insert(input.hash);
                continue;
            };
            left = left
                .checked_sub(text.as_bytes().len() as u64)
                .ok_or(UnpackError::TooLarge)?;
            // What was found for nothing doesn't stay in memory.
            if missing.is_empty() {
                inputs.push(ProofInput {
                    text,
                    wanted: input.wanted,
                });
            }
        }
        if !missing.is_empty() {
            return Err(UnpackError::Missing(missing));
        }
        Ok(Proof {
            sources: self.sources,
            inputs,
        })
    }

    /// Reads a packed proof.
    ///
    /// # Errors
    /// The stream fails, a limit is exceeded, a field isn't what it should be, a text
    /// doesn't have its hash, or a list isn't in ascending order.
    pub fn read(reader: &mut impl Read, store_dir: &StoreDir) -> Result<Self, Error> {
        let mut source = Source {
            reader,
            store_dir,
            left: MAX_PROOF_BYTES,
        };
        Ok(Self {
            sources: source.sources()?,
            inputs: source.inputs()?,
        })
    }

    /// Writes the proof, whose inputs must be ascending by hash.
    ///
    /// # Errors
    /// The stream fails.
    pub fn write(&self, writer: &mut impl Write, store_dir: &StoreDir) -> io::Result<()> {
        writer.write_path_set(store_dir, &self.sources)?;
        writer.write_u64(self.inputs.len() as u64)?;
        for input in &self.inputs {
            writer.write_bytes(&input.hash)?;
            writer.write_bool(input.text.is_some())?;
            if let Some(text) = &input.text {
                writer.write_bytes(text.as_bytes())?;
            }
            writer.write_u64(input.wanted.len() as u64)?;
            for name in &input.wanted {
                writer.write_str(name.as_str())?;
            }
        }
        Ok(())
    }
}

struct Source<'s, R> {
    reader: &'s mut R,
    store_dir: &'s StoreDir,
    left: u64,
}

impl<R: Read> Source<'_, R> {
    fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.reader.read_bytes_into(field, self.left, &mut bytes)?;
        self.left = self.left.saturating_sub(bytes.len() as u64 + ITEM_COST);
        Ok(bytes)
    }

    fn sources(&mut self) -> Result<StorePathSet, Error> {
        let mut paths = Vec::new();
        for _ in 0..self.reader.read_count("sources of proof", MAX_PATHS)? {
            let path = self.bytes("source of proof")?;
            let path = self.store_dir.parse(&path);
            let path = path.map_err(|error| bad_field("source of proof", error.into()))?;
            if paths.last().is_some_and(|last| *last >= path) {
                return Err(out_of_order("sources of proof", path.to_string()));
            }
            paths.push(path);
        }
        Ok(paths.into_iter().collect())
    }

    fn inputs(&mut self) -> Result<Vec<PackedInput>, Error> {
        let mut inputs: Vec<PackedInput> = Vec::new();
        for _ in 0..self.reader.read_count("inputs of proof", MAX_PATHS)? {
            let input = self.input()?;
            if inputs.last().is_some_and(|last| last.hash >= input.hash) {
                return Err(out_of_order("inputs of proof", super::hex(&input.hash)));
            }
            inputs.push(input);
        }
        Ok(inputs)
    }

    fn input(&mut self) -> Result<PackedInput, Error> {
        let hash = self.hash()?;
        let text = match self.reader.read_u64("whether a text is sent")? {
            0 => None,
            1 => Some(self.text(&hash)?),
            value => {
                let field = "whether a text is sent";
                return Err(WireError::IntTooLarge { field, value }.into());
            }
        };
        let mut wanted = BTreeSet::new();
        for _ in 0..self.reader.read_count("wanted outputs", MAX_OUTPUTS)? {
            let name = self.bytes("wanted output")?;
            let name = output_name(&name).map_err(|error| bad_field("wanted output", error))?;
            if wanted.last().is_some_and(|last| *last >= name) {
                return Err(out_of_order("wanted outputs", name.to_string()));
            }
            wanted.insert(name);
        }
        Ok(PackedInput { hash, text, wanted })
    }

    fn hash(&mut self) -> Result<TextHash, Error> {
        let bytes = self.bytes("hash of text")?;
        TextHash::try_from(bytes.as_slice()).map_err(|_| Error::WireTextHash)
    }

    fn text(&mut self, hash: &TextHash) -> Result<ProofText, Error> {
        let text = ProofText::new(self.bytes("text of input")?);
        if text.hash() != hash {
            return Err(Error::WireTextHash);
        }
        Ok(text)
    }
}

fn bad_field(field: &'static str, source: FieldError) -> Error {
    Error::WireField { field, source }
}

fn out_of_order(field: &'static str, name: String) -> Error {
    let name = name.into();
    Error::WireOrder { field, name }
}
