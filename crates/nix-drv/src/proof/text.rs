//! The text T of an input derivation, as a client sends it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use nix_base::store_path::make::{References, make_content_addressed_path};
use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, HashFormat, OutputName, StoreDir,
    StorePath,
};

use super::{TextError, TextHash};
use crate::aterm::{Escapes, HalfParsed, RawDerivation, Strictness};
use crate::derivation::from_raw::{output_name, parse_path};
use crate::error::FieldError;

/// What the line of a fixed output begins with.
const FIXED: &[u8] = b"fixed:out:";

/// The SHA-256 of a text: what stands for its derivation among the inputs of others.
pub fn text_hash(text: &[u8]) -> TextHash {
    let hash = Hash::of(HashAlgo::Sha256, text);
    hash.as_bytes().try_into().expect("a SHA-256 has 32 bytes")
}

/// A text and its SHA-256, which is computed once. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct ProofText {
    hash: TextHash,
    bytes: Arc<[u8]>,
}

impl ProofText {
    /// Hashes a text. Whether it is one that stands for a derivation is for [`text_outputs`]
    /// to say.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self {
            hash: text_hash(&bytes),
            bytes,
        }
    }

    /// The SHA-256 of the text.
    pub fn hash(&self) -> &TextHash {
        &self.hash
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for ProofText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProofText")
            .field(&String::from_utf8_lossy(&self.bytes))
            .finish()
    }
}

/// The outputs that a text names, with their paths.
///
/// # Errors
/// It isn't byte for byte a text that stands for a derivation whose output paths are
/// all known.
pub fn text_outputs(
    text: &[u8],
    store_dir: &StoreDir,
) -> Result<BTreeMap<OutputName, StorePath>, TextError> {
    if let Some(line) = text.strip_prefix(FIXED) {
        let path = fixed_path(line, store_dir)?;
        let name = OutputName::new("out").map_err(|_| TextError::FixedLine)?;
        return Ok(BTreeMap::from([(name, path)]));
    }
    let raw = parse(text)?;
    check_inputs(&raw)?;
    let outputs = outputs(&raw, store_dir)?;
    for source in raw.input_srcs() {
        canonical_path(source, store_dir)?;
    }
    Ok(outputs)
}

/// Strict parsers take exactly what would be printed again.
fn parse(text: &[u8]) -> Result<RawDerivation<'_>, TextError> {
    let quick = HalfParsed::begin(text, Strictness::Strict, Escapes::Keep);
    if let Ok(raw) = quick.and_then(HalfParsed::finish) {
        return Ok(raw);
    }
    // Names of variables may have escapes, which the quick way doesn't read.
    Ok(RawDerivation::parse(text, Strictness::Strict)?)
}

/// `<method><algorithm>:<base 16>:<path>`, where the path follows from the rest.
fn fixed_path(line: &[u8], store_dir: &StoreDir) -> Result<StorePath, TextError> {
    let malformed = || TextError::FixedLine;
    let line = std::str::from_utf8(line).map_err(|_| malformed())?;
    let start = line.find('/').ok_or_else(malformed)?;
    let (address, path) = line.split_at(start);
    let address = address.strip_suffix(':').ok_or_else(malformed)?;
    let (method, digits) = address.rsplit_once(':').ok_or_else(malformed)?;
    let (method, algo) = ContentAddressMethod::parse_with_algo(method).map_err(FieldError::Hash)?;
    let hash = Hash::parse_digits(algo, digits).map_err(FieldError::Hash)?;
    let path = canonical_path(path.as_bytes(), store_dir)?;
    let ca = ContentAddress { method, hash };
    let computed = make_content_addressed_path(store_dir, &ca, &References::default(), path.name());
    let again = format!(
        "{}{algo}:{}",
        method.prefix(),
        hash.render(HashFormat::Base16)
    );
    if computed.ok().as_ref() != Some(&path) || again != address {
        return Err(malformed());
    }
    Ok(path)
}

fn canonical_path(text: &[u8], store_dir: &StoreDir) -> Result<StorePath, TextError> {
    let path = parse_path(store_dir, text)?;
    if text.len() != store_dir.full_len(&path) {
        return Err(FieldError::NotCanonical(text.into()).into());
    }
    Ok(path)
}

/// That each input is a hash of which something is wanted.
fn check_inputs(raw: &RawDerivation<'_>) -> Result<(), TextError> {
    if raw.is_versioned || raw.is_dynamic() {
        return Err(TextError::Dynamic);
    }
    for input in raw.input_drvs() {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if input.path.len() != 64 || !input.path.iter().all(is_digit) {
            return Err(TextError::InputHash(input.path.to_vec().into()));
        }
        let wanted = raw.wanted(input);
        if wanted.is_empty() {
            return Err(TextError::NothingWanted(input.path.to_vec().into()));
        }
        for name in wanted {
            output_name(name)?;
        }
    }
    Ok(())
}

fn outputs(
    raw: &RawDerivation<'_>,
    store_dir: &StoreDir,
) -> Result<BTreeMap<OutputName, StorePath>, TextError> {
    let mut outputs = BTreeMap::new();
    for row in raw.outputs() {
        let name = output_name(&row.name)?;
        if row.path.is_empty() || !row.hash_algo.is_empty() || !row.hash.is_empty() {
            return Err(TextError::NotInputAddressed(row.name.to_vec().into()));
        }
        outputs.insert(name, canonical_path(&row.path, store_dir)?);
    }
    if outputs.is_empty() {
        return Err(TextError::NoOutputs);
    }
    Ok(outputs)
}
