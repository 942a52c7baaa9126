//! From the strings of a file to what they mean.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashFormat, OutputName, StoreDir, StorePath,
    StorePathName,
};

use super::{BasicDerivation, Derivation, DerivationOutput, DerivationOutputs, InputNode};
use crate::aterm::{RawDerivation, RawNode, RawOutput};
use crate::error::{FieldError, Result};
use crate::outputs::output_path_of_fixed;

impl Derivation {
    /// Gives the strings of `raw` their meaning.
    ///
    /// # Errors
    /// Names the offset and the string that isn't a store path, a hash or an
    /// output name. A derivation that was parsed strictly must also state them
    /// in canonical form, and the path of a fixed output must fit its hash.
    pub fn from_raw(
        mut raw: RawDerivation<'_>,
        store_dir: &StoreDir,
        name: &StorePathName,
    ) -> Result<Self> {
        let reader = Reader {
            strict: raw.strictness.is_strict(),
            store_dir,
            name,
        };
        let outputs = reader.outputs(&raw)?;
        let input_drvs = reader.input_drvs(&mut raw)?;
        let srcs = raw.input_srcs.iter().map(|src| {
            reader
                .path(src)
                .map_err(|e| e.at(raw.offset_of(src, &raw.spans.input_srcs)))
        });
        let basic = BasicDerivation {
            name: name.clone(),
            outputs,
            input_srcs: srcs.collect::<Result<_>>()?,
            platform: owned(raw.platform),
            builder: owned(raw.builder),
            args: raw.args.into_iter().map(owned).collect(),
            // Nix compat: of two variables of one name the last one counts,
            // which is what collecting into a map gives.
            env: raw
                .env
                .into_iter()
                .map(|var| (owned(var.name), owned(var.value)))
                .collect(),
        };
        Ok(Self { basic, input_drvs })
    }
}

/// Reads the strings of a derivation in the context that gives them meaning.
pub(crate) struct Reader<'r> {
    pub(crate) strict: bool,
    pub(crate) store_dir: &'r StoreDir,
    pub(crate) name: &'r StorePathName,
}

impl Reader<'_> {
    /// The outputs with their kinds.
    pub(crate) fn outputs(&self, raw: &RawDerivation<'_>) -> Result<DerivationOutputs> {
        let mut outputs = BTreeMap::new();
        for row in &raw.outputs {
            let part = &raw.spans.outputs;
            let offset = |string| raw.offset_of(string, part);
            let name = output_name(&row.name).map_err(|e| e.at(offset(&row.name)))?;
            let output = self
                .output(&name, row)
                .map_err(|(field, e)| e.at(offset(field)))?;
            // Nix compat: of two outputs of one name the first one counts
            // (since 2.8; the last one before).
            outputs.entry(name).or_insert(output);
        }
        Ok(outputs)
    }

    /// An output from its row; on failure the field at fault.
    fn output<'o, 'a>(
        &self,
        name: &OutputName,
        row: &'o RawOutput<'a>,
    ) -> std::result::Result<DerivationOutput, (&'o Cow<'a, [u8]>, FieldError)> {
        let output = parse_output(self.store_dir, &row.path, &row.hash_algo, &row.hash).map_err(
            |(field, e)| {
                let at = match field {
                    Field::Path => &row.path,
                    Field::HashAlgo => &row.hash_algo,
                    Field::Hash => &row.hash,
                };
                (at, e)
            },
        )?;
        if self.strict {
            self.check_canonical(name, &output, row)?;
        }
        Ok(output)
    }

    /// That the printer would print `output` as `row`.
    fn check_canonical<'o, 'a>(
        &self,
        name: &OutputName,
        output: &DerivationOutput,
        row: &'o RawOutput<'a>,
    ) -> std::result::Result<(), (&'o Cow<'a, [u8]>, FieldError)> {
        match output {
            DerivationOutput::InputAddressed(path) => {
                self.same_path(path, &row.path)
                    .map_err(|e| (&row.path, e))?;
            }
            DerivationOutput::CaFixed(ca) => {
                let path = output_path_of_fixed(self.store_dir, self.name, name, ca)
                    .map_err(|e| (&row.path, FieldError::FixedPath(Box::new(e))))?;
                let expected = self.store_dir.print(&path);
                if *row.path != *expected.as_bytes() {
                    let stated = row.path.to_vec().into();
                    return Err((&row.path, FieldError::WrongFixedPath { stated, expected }));
                }
                if *row.hash != *ca.hash.render(HashFormat::Base16).as_bytes() {
                    return Err((
                        &row.hash,
                        FieldError::NotCanonical(row.hash.to_vec().into()),
                    ));
                }
            }
            _ => {}
        }
        if row.hash_algo.is_empty() && !row.hash.is_empty() {
            return Err((&row.hash, FieldError::HashWithoutAlgorithm));
        }
        Ok(())
    }

    fn input_drvs(&self, raw: &mut RawDerivation<'_>) -> Result<BTreeMap<StorePath, InputNode>> {
        let mut inputs = Vec::with_capacity(raw.input_drvs.len());
        for input in &raw.input_drvs {
            let at = |string| raw.offset_of(string, &raw.spans.input_drvs);
            let path = self.path(&input.path).map_err(|e| e.at(at(&input.path)))?;
            let node =
                node(raw.wanted(input), &input.children).map_err(|(string, e)| e.at(at(string)))?;
            inputs.push((path, node));
        }
        // Nix compat: of two entries for one derivation the last one counts.
        Ok(inputs.into_iter().collect())
    }

    /// A full path; in strict mode only in its canonical form.
    pub(crate) fn path(&self, text: &[u8]) -> std::result::Result<StorePath, FieldError> {
        let path = parse_path(self.store_dir, text)?;
        if self.strict {
            self.same_path(&path, text)?;
        }
        Ok(path)
    }

    fn same_path(&self, path: &StorePath, text: &[u8]) -> std::result::Result<(), FieldError> {
        // A path that parsed is canonical if it has the canonical length:
        // cleaning only ever makes shorter.
        if text.len() == self.store_dir.full_len(path) {
            return Ok(());
        }
        Err(FieldError::NotCanonical(text.into()))
    }
}

/// The string of an output that is at fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    /// The path.
    Path,
    /// Method and algorithm.
    HashAlgo,
    /// The hash.
    Hash,
}

impl Field {
    /// What the field is called in errors about the wire.
    pub(crate) fn wire_name(self) -> &'static str {
        match self {
            Self::Path => "output path",
            Self::HashAlgo => "output hash algorithm",
            Self::Hash => "output hash",
        }
    }
}

/// An output from the three strings that files and the wire have for it.
pub(crate) fn parse_output(
    store_dir: &StoreDir,
    path: &[u8],
    hash_algo: &[u8],
    hash: &[u8],
) -> std::result::Result<DerivationOutput, (Field, FieldError)> {
    if hash_algo.is_empty() {
        // Nix compat: without algorithm the hash isn't even looked at.
        if path.is_empty() {
            return Ok(DerivationOutput::Deferred);
        }
        let path = parse_path(store_dir, path).map_err(|e| (Field::Path, e))?;
        return Ok(DerivationOutput::InputAddressed(path));
    }
    let (method, algo) = parse_method(hash_algo).map_err(|e| (Field::HashAlgo, e))?;
    match hash {
        b"" if path.is_empty() => Ok(DerivationOutput::CaFloating { method, algo }),
        b"" => Err((Field::Path, FieldError::FloatingWithPath)),
        b"impure" if path.is_empty() => Ok(DerivationOutput::Impure { method, algo }),
        b"impure" => Err((Field::Path, FieldError::ImpureWithPath)),
        // Nix compat: the stated path of a fixed output only has to start with a
        // slash, as the real one follows from the hash.
        _ if !path.starts_with(b"/") => Err((Field::Path, FieldError::BadPath(path.into()))),
        _ => {
            let hash = parse_hash(algo, hash).map_err(|e| (Field::Hash, e))?;
            Ok(DerivationOutput::CaFixed(ContentAddress { method, hash }))
        }
    }
}

fn parse_method(
    text: &[u8],
) -> std::result::Result<(ContentAddressMethod, nix_base::HashAlgo), FieldError> {
    let text = text.to_str_lossy();
    Ok(ContentAddressMethod::parse_with_algo(&text)?)
}

fn parse_hash(algo: nix_base::HashAlgo, text: &[u8]) -> std::result::Result<Hash, FieldError> {
    Ok(Hash::parse_digits(algo, &text.to_str_lossy())?)
}

/// A full path; the words for one without a slash are real Nix's own.
pub(crate) fn parse_path(
    store_dir: &StoreDir,
    text: &[u8],
) -> std::result::Result<StorePath, FieldError> {
    if !text.starts_with(b"/") {
        return Err(FieldError::BadPath(text.into()));
    }
    Ok(store_dir.parse(text)?)
}

pub(crate) fn output_name(text: &[u8]) -> std::result::Result<OutputName, FieldError> {
    let name = std::str::from_utf8(text)
        .ok()
        .and_then(|text| OutputName::new(text).ok());
    name.ok_or_else(|| FieldError::OutputName(text.into()))
}

/// A node; on failure the string at fault. The parser has bounded the depth.
fn node<'n, 'a>(
    outputs: &'n [Cow<'a, [u8]>],
    children: &'n [(Cow<'a, [u8]>, RawNode<'a>)],
) -> std::result::Result<InputNode, (&'n Cow<'a, [u8]>, FieldError)> {
    let name = |text: &'n Cow<'a, [u8]>| output_name(text).map_err(|e| (text, e));
    let child = |(output, child): &'n (Cow<'a, [u8]>, RawNode<'a>)| {
        Ok((name(output)?, node(&child.outputs, &child.children)?))
    };
    Ok(InputNode {
        outputs: outputs
            .iter()
            .map(name)
            .collect::<std::result::Result<_, _>>()?,
        children: children
            .iter()
            .map(child)
            .collect::<std::result::Result<_, _>>()?,
    })
}

fn owned(bytes: Cow<'_, [u8]>) -> BString {
    bytes.into_owned().into()
}
