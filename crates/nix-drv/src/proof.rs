//! What a client that nobody trusts can show about the output paths it asks for.
//!
//! The path of an input-addressed output follows from the text of its derivation, in
//! which each input derivation is replaced by the SHA-256 of a text T that names the
//! paths of that input's outputs. Whoever has the sources S0 and the texts T of the
//! direct inputs can therefore check that an output path is the right one for what is
//! to be built, and that the inputs are the right ones; deeper levels need no
//! evidence, as the inputs are valid only under the same rules:
//!
//! ```text
//! U = sha256(T)                         for each direct input
//! E = S0 ∪ outputs that are used of each T
//! path = f(sha256(masked text with sources S0 and inputs (U, used outputs)))
//! T = text of the input, its own inputs replaced          input-addressed
//!   | "fixed:out:" method algo ":" hash ":" path          one fixed output
//! ```
//!
//! The whole story is in `docs/formats/proof.md`.

use std::collections::{BTreeMap, BTreeSet};

use nix_base::{Hash, HashAlgo, OutputName, StoreDir, StorePathSet};

use crate::aterm::{Masked, Printer};
use crate::derivation::{BasicDerivation, DerivationOutput, DerivationType};
use crate::hash_modulo::{HashKind, MaskedHash};
use crate::outputs::output_path;

mod error;
mod make;
mod packed;
mod text;

pub use error::{ProofError, TextError};
pub use make::input_text;
pub use packed::{MAX_PROOF_BYTES, PackedInput, PackedProof, UnpackError};
pub use text::{ProofText, text_hash, text_outputs};

/// The SHA-256 of a text T.
pub type TextHash = [u8; 32];

/// How the output paths of a derivation can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classification {
    /// Paths follow from the contents, which are checked after the build.
    ContentAddressed(DerivationType),
    /// Input-addressed without input derivations: the paths were computed again and
    /// are right.
    SelfContained,
    /// Input-addressed with paths that don't follow from the sources alone.
    NeedsProof,
}

/// What the output paths of a derivation with input derivations follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The sources of the derivation itself.
    pub sources: StorePathSet,
    /// Its direct inputs; those of equal text count as one that wants the outputs of
    /// all.
    pub inputs: Vec<ProofInput>,
}

/// One input derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofInput {
    /// The text whose hash stands for it.
    pub text: ProofText,
    /// The outputs that are used, at least one.
    pub wanted: BTreeSet<OutputName>,
}

/// What a proof has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// All that the build may need, but for what these refer to: the sources and the
    /// used outputs of the inputs.
    pub inputs: StorePathSet,
}

/// Says what it takes to check the output paths of `drv`; those that follow from it
/// alone are checked at once.
///
/// # Errors
/// The outputs don't go together or are deferred; a field can't be hashed without
/// doubt; a variable named like an output holds something else than its path.
pub fn classify(drv: &BasicDerivation, store_dir: &StoreDir) -> Result<Classification, ProofError> {
    let own = drv.derivation_type()?;
    if own.is_content_addressed() {
        return Ok(Classification::ContentAddressed(own));
    }
    if own == DerivationType::Deferred {
        return Err(ProofError::Deferred);
    }
    check_fields(drv)?;
    let masked = drv.masked_hash(store_dir)?;
    match check_paths(drv, store_dir, &masked) {
        Ok(()) => {
            check_variables(drv, store_dir)?;
            Ok(Classification::SelfContained)
        }
        Err(ProofError::WrongOutput { .. }) => Ok(Classification::NeedsProof),
        Err(error) => Err(error),
    }
}

/// Checks that the output paths of `drv` follow from it and `proof`, and that it asks
/// for all the inputs that the proof names.
///
/// What is left to the caller: all of [`Verified::inputs`] are valid, and the closure
/// of the requested inputs is theirs.
///
/// # Errors
/// What doesn't follow.
pub fn verify(
    drv: &BasicDerivation,
    proof: &Proof,
    store_dir: &StoreDir,
) -> Result<Verified, ProofError> {
    if drv.derivation_type()? != DerivationType::InputAddressed {
        return Err(ProofError::NotInputAddressed);
    }
    check_fields(drv)?;
    check_variables(drv, store_dir)?;
    let mut inputs = proof.sources.clone();
    let mut wanted: BTreeMap<TextHash, BTreeSet<&OutputName>> = BTreeMap::new();
    for input in &proof.inputs {
        let hash = *input.text.hash();
        let outputs =
            text_outputs(input.text.as_bytes(), store_dir).map_err(|source| ProofError::Text {
                hash: hex(&hash),
                source,
            })?;
        if input.wanted.is_empty() {
            return Err(ProofError::NothingWanted { hash: hex(&hash) });
        }
        for name in &input.wanted {
            let path = outputs.get(name).ok_or_else(|| ProofError::NoSuchOutput {
                hash: hex(&hash),
                output: name.clone(),
            })?;
            inputs.insert(path.clone());
        }
        wanted.entry(hash).or_default().extend(&input.wanted);
    }
    if let Some(path) = inputs.difference(&drv.input_srcs).next() {
        return Err(ProofError::MissingInput(store_dir.print(path)));
    }
    let masked = masked_hash(drv, &proof.sources, &wanted, store_dir)?;
    check_paths(drv, store_dir, &masked)?;
    Ok(Verified { inputs })
}

/// The hash of the text in which `sources` and `wanted` are in place of the inputs
/// that `drv` asks for.
fn masked_hash(
    drv: &BasicDerivation,
    sources: &StorePathSet,
    wanted: &BTreeMap<TextHash, BTreeSet<&OutputName>>,
    store_dir: &StoreDir,
) -> Result<MaskedHash, ProofError> {
    let text = print(drv, sources, wanted, store_dir, Masked::Yes)?;
    Ok(MaskedHash {
        hash: Hash::of(HashAlgo::Sha256, &text),
        kind: HashKind::Regular,
    })
}

fn print(
    drv: &BasicDerivation,
    sources: &StorePathSet,
    wanted: &BTreeMap<TextHash, BTreeSet<&OutputName>>,
    store_dir: &StoreDir,
    masked: Masked,
) -> Result<Vec<u8>, ProofError> {
    let mut printer = Printer::default();
    printer.derivation_with_sources(drv, sources, store_dir, masked, |printer| {
        let mut sep = b'[';
        for (hash, outputs) in wanted {
            printer.byte(sep);
            printer.raw(b"(\"");
            printer.raw(hex(hash).as_bytes());
            printer.raw(b"\",");
            printer.names(outputs.iter().copied());
            printer.byte(b')');
            sep = b',';
        }
        printer.close(sep);
    })?;
    Ok(printer.finish())
}

impl Proof {
    /// The text of the derivation that this is the proof for, and that `drv` asks for: what
    /// stands for it among the inputs of others.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn text_of(
        &self,
        drv: &BasicDerivation,
        store_dir: &StoreDir,
    ) -> Result<ProofText, ProofError> {
        let mut wanted: BTreeMap<TextHash, BTreeSet<&OutputName>> = BTreeMap::new();
        for input in &self.inputs {
            let outputs = wanted.entry(*input.text.hash()).or_default();
            outputs.extend(&input.wanted);
        }
        print(drv, &self.sources, &wanted, store_dir, Masked::No).map(ProofText::new)
    }
}

/// That no two derivations have the same text: the platform is printed as it is.
/// Names and paths can't have such bytes.
fn check_fields(drv: &BasicDerivation) -> Result<(), ProofError> {
    if drv.platform.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
        return Err(ProofError::UnsafePlatform(drv.platform.clone()));
    }
    Ok(())
}

/// That each output path is the one that follows from the hash.
fn check_paths(
    drv: &BasicDerivation,
    store_dir: &StoreDir,
    masked: &MaskedHash,
) -> Result<(), ProofError> {
    for (name, output) in &drv.outputs {
        let DerivationOutput::InputAddressed(stated) = output else {
            return Err(ProofError::NotInputAddressed);
        };
        let expected = output_path(store_dir, &drv.name, name, masked)?;
        if *stated != expected {
            return Err(ProofError::WrongOutput {
                output: name.clone(),
                stated: store_dir.print(stated),
                expected: store_dir.print(&expected),
            });
        }
    }
    Ok(())
}

/// That variables named like outputs hold their paths: the hash leaves both out.
fn check_variables(drv: &BasicDerivation, store_dir: &StoreDir) -> Result<(), ProofError> {
    for (name, output) in &drv.outputs {
        let DerivationOutput::InputAddressed(path) = output else {
            return Err(ProofError::NotInputAddressed);
        };
        let expected = store_dir.print(path);
        match drv.env_var(name.as_str()) {
            Some(value) if value != expected.as_bytes() => {
                return Err(ProofError::WrongVariable {
                    name: name.clone(),
                    expected,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn hex(hash: &TextHash) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in hash {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
