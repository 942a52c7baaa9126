//! The form in which a derivation without input derivations goes over the wire
//! (`BuildDerivation`).
//!
//! ```text
//! u64 count { string name, string path, string method-and-algorithm, string hash }   outputs
//! u64 count { string path }                                                          sources
//! string platform, string builder, u64 count { string }                              arguments
//! u64 count { string name, string value }                                            environment
//! ```
//!
//! The derivation's name isn't among it; it comes from the path that is sent along.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use bstr::BString;
use nix_base::wire::MAX_PATHS;
use nix_base::{
    HashFormat, OutputName, StoreDir, StorePathName, StorePathSet, WireRead, WireWrite,
};

use crate::derivation::from_raw::{output_name, parse_output};
use crate::derivation::{BasicDerivation, DerivationOutput, DerivationOutputs};
use crate::error::{Error, FieldError, Result};
use crate::outputs::output_path_of_fixed;

/// Most bytes of a derivation on the wire, all in all; each item counts for
/// [`ITEM_COST`] more, as that is what it takes in memory.
pub const MAX_BYTES: u64 = 128 << 20;
/// What an item takes in memory besides its bytes.
pub const ITEM_COST: u64 = 64;
/// Most outputs of one derivation.
pub const MAX_OUTPUTS: u64 = 10_000;

impl BasicDerivation {
    /// Reads a derivation called `name`.
    ///
    /// # Errors
    /// The stream fails, a limit is exceeded, or a field isn't what it should be;
    /// so is the path of a fixed output that doesn't follow from its hash, and
    /// anything that is there twice.
    pub fn read_wire(
        reader: &mut impl Read,
        store_dir: &StoreDir,
        name: &StorePathName,
    ) -> Result<Self> {
        let mut source = Source {
            reader,
            store_dir,
            name,
            left: MAX_BYTES,
        };
        Ok(Self {
            name: name.clone(),
            outputs: source.outputs()?,
            input_srcs: source.sources()?,
            platform: source.bytes("platform")?.into(),
            builder: source.bytes("builder")?.into(),
            args: source.args()?,
            env: source.env()?,
        })
    }

    /// Writes the derivation.
    ///
    /// # Errors
    /// The stream fails, or a fixed output has no path.
    pub fn write_wire(&self, writer: &mut impl Write, store_dir: &StoreDir) -> Result<()> {
        write_outputs(self, writer, store_dir)?;
        write_rest(self, writer, store_dir).map_err(Error::WriteWire)
    }
}

fn write_outputs(
    drv: &BasicDerivation,
    writer: &mut impl Write,
    store_dir: &StoreDir,
) -> Result<()> {
    let io = Error::WriteWire;
    writer.write_u64(drv.outputs.len() as u64).map_err(io)?;
    for (name, output) in &drv.outputs {
        let path = output.known_path(store_dir, &drv.name, name)?;
        let (hash_algo, hash) = hash_fields(output);
        writer.write_str(name.as_str()).map_err(io)?;
        writer
            .write_optional_path(store_dir, path.as_ref())
            .map_err(io)?;
        writer.write_str(&hash_algo).map_err(io)?;
        writer.write_str(&hash).map_err(io)?;
    }
    Ok(())
}

fn write_rest(
    drv: &BasicDerivation,
    writer: &mut impl Write,
    store_dir: &StoreDir,
) -> std::io::Result<()> {
    writer.write_path_set(store_dir, &drv.input_srcs)?;
    writer.write_bytes(&drv.platform)?;
    writer.write_bytes(&drv.builder)?;
    writer.write_u64(drv.args.len() as u64)?;
    for arg in &drv.args {
        writer.write_bytes(arg)?;
    }
    writer.write_u64(drv.env.len() as u64)?;
    for (name, value) in &drv.env {
        writer.write_bytes(name)?;
        writer.write_bytes(value)?;
    }
    Ok(())
}

/// Method with algorithm, and hash, as files and the wire have them.
pub(crate) fn hash_fields(output: &DerivationOutput) -> (String, String) {
    match output {
        DerivationOutput::InputAddressed(_) | DerivationOutput::Deferred => Default::default(),
        DerivationOutput::CaFixed(ca) => (
            format!("{}{}", ca.method.prefix(), ca.hash.algo()),
            ca.hash.render(HashFormat::Base16),
        ),
        DerivationOutput::CaFloating { method, algo } => {
            (format!("{}{algo}", method.prefix()), String::new())
        }
        DerivationOutput::Impure { method, algo } => {
            (format!("{}{algo}", method.prefix()), "impure".into())
        }
    }
}

struct Source<'s, R> {
    reader: &'s mut R,
    store_dir: &'s StoreDir,
    name: &'s StorePathName,
    left: u64,
}

impl<R: Read> Source<'_, R> {
    fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader.read_bytes_into(field, self.left, &mut bytes)?;
        self.left = self.left.saturating_sub(bytes.len() as u64 + ITEM_COST);
        Ok(bytes)
    }

    fn outputs(&mut self) -> Result<DerivationOutputs> {
        let mut outputs = BTreeMap::new();
        for _ in 0..self.reader.read_count("outputs", MAX_OUTPUTS)? {
            let name = self.bytes("output name")?;
            let name = output_name(&name).map_err(|e| bad_field("output name", e))?;
            let output = self.output(&name)?;
            if outputs.contains_key(&name) {
                let name = name.as_str().into();
                return Err(Error::WireDuplicate {
                    field: "outputs",
                    name,
                });
            }
            outputs.insert(name, output);
        }
        Ok(outputs)
    }

    fn output(&mut self, name: &OutputName) -> Result<DerivationOutput> {
        let path = self.bytes("output path")?;
        let hash_algo = self.bytes("output hash algorithm")?;
        let hash = self.bytes("output hash")?;
        let output = parse_output(self.store_dir, &path, &hash_algo, &hash)
            .map_err(|(field, e)| bad_field(field.wire_name(), e))?;
        if let DerivationOutput::CaFixed(ca) = &output {
            let computed = output_path_of_fixed(self.store_dir, self.name, name, ca)?;
            if self.store_dir.parse(&path).ok().as_ref() != Some(&computed) {
                let expected = self.store_dir.print(&computed);
                let stated = path.into();
                let wrong = FieldError::WrongFixedPath { stated, expected };
                return Err(bad_field("output path", wrong));
            }
        }
        Ok(output)
    }

    fn sources(&mut self) -> Result<StorePathSet> {
        let mut paths = Vec::new();
        for _ in 0..self.reader.read_count("sources", MAX_PATHS)? {
            let path = self.bytes("source")?;
            let path = self.store_dir.parse(&path);
            paths.push(path.map_err(|e| bad_field("source", e.into()))?);
        }
        Ok(paths.into_iter().collect())
    }

    fn args(&mut self) -> Result<Vec<BString>> {
        let mut args = Vec::new();
        for _ in 0..self.reader.read_count("arguments", MAX_BYTES / ITEM_COST)? {
            args.push(self.bytes("argument")?.into());
        }
        Ok(args)
    }

    fn env(&mut self) -> Result<BTreeMap<BString, BString>> {
        let mut env = BTreeMap::new();
        for _ in 0..self
            .reader
            .read_count("environment", MAX_BYTES / ITEM_COST)?
        {
            let name: BString = self.bytes("variable name")?.into();
            let value = self.bytes("variable value")?.into();
            if env.contains_key(&name) {
                return Err(Error::WireDuplicate {
                    field: "environment",
                    name,
                });
            }
            env.insert(name, value);
        }
        Ok(env)
    }
}

fn bad_field(field: &'static str, source: FieldError) -> Error {
    Error::WireField { field, source }
}

#[cfg(test)]
mod tests;
