//! Realisations in build results, by version.
//!
//! Up to 2.7 an output is named by the hash of its derivation (`sha256:<hex>!<output>`)
//! and described by a JSON text; from 2.8 on by path and name, and by plain fields.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use nix_base::json::realisation::{realisation_from_text, realisation_to_json};
use nix_base::wire::MAX_SHORT;
use nix_base::{
    DrvOutput, OutputName, Realisation, StoreDir, StorePath, UnkeyedRealisation, WireRead,
    WireWrite,
};
use serde_json::json;

use super::limit::MAX_REALISATION;
use super::path_info::{read_signatures, write_signatures};
use super::{ProtoError, Result};
use crate::text::printable;

/// Reads the id of an output up to 2.7.
///
/// # Errors
/// The stream ends or fails, or the text does not parse.
pub fn read_drv_output(reader: &mut (impl Read + ?Sized)) -> Result<DrvOutput> {
    let text = reader.read_string("the id of an output", MAX_SHORT)?;
    let parsed = text.parse();
    parsed.map_err(|_| ProtoError::OutputId(printable(text.as_bytes())))
}

/// Writes the id of an output up to 2.7.
///
/// # Errors
/// The stream fails.
pub fn write_drv_output(id: &DrvOutput, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
    writer.write_str(&id.to_string())
}

/// Reads the id of an output from 2.8 on: its derivation and its name.
///
/// # Errors
/// The stream ends or fails, or a field does not parse.
pub fn read_output_of(
    dir: &StoreDir,
    reader: &mut (impl Read + ?Sized),
) -> Result<(StorePath, OutputName)> {
    let drv_path = reader.read_path("the derivation of an output", dir)?;
    Ok((drv_path, read_output_name(reader)?))
}

/// Writes the id of an output from 2.8 on.
///
/// # Errors
/// The stream fails.
pub fn write_output_of(
    drv_path: &StorePath,
    output: &OutputName,
    dir: &StoreDir,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_path(dir, drv_path)?;
    writer.write_str(output.as_str())
}

/// Reads the name of an output.
///
/// # Errors
/// The stream ends or fails, or the name breaks the rules of names.
pub fn read_output_name(reader: &mut (impl Read + ?Sized)) -> Result<OutputName> {
    let field = "the name of an output";
    let text = reader.read_string(field, MAX_SHORT)?;
    OutputName::new(&text).map_err(|source| ProtoError::OutputName { field, source })
}

/// Reads a realisation up to 2.7: a JSON text.
///
/// # Errors
/// The stream ends or fails, or the text does not parse.
pub fn read_realisation(reader: &mut (impl Read + ?Sized)) -> Result<Realisation> {
    let field = "a realisation";
    let json = reader.read_bytes(field, MAX_REALISATION)?;
    realisation_from_text(&json).map_err(|source| ProtoError::Realisation { field, source })
}

/// Writes a realisation up to 2.7.
///
/// Nix compat: where the derivation's hash is not known ([`DrvOutput::stand_in`]) only id
/// and path are written, as by Nix 2.35 to older clients.
///
/// # Errors
/// The stream fails.
pub fn write_realisation(
    realisation: &Realisation,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let json = if is_stand_in(&realisation.id) {
        json!({
            "id": realisation.id.to_string(),
            "outPath": realisation.out_path.base_name(),
        })
    } else {
        realisation_to_json(realisation)
    };
    writer.write_str(&json.to_string())
}

/// Reads a realisation from 2.8 on: path and signatures.
///
/// # Errors
/// The stream ends or fails, or a field does not parse.
pub fn read_unkeyed_realisation(
    dir: &StoreDir,
    reader: &mut (impl Read + ?Sized),
) -> Result<UnkeyedRealisation> {
    Ok(UnkeyedRealisation {
        out_path: reader.read_path("the path of an output", dir)?,
        signatures: read_signatures(reader)?,
    })
}

/// Writes a realisation from 2.8 on.
///
/// # Errors
/// The stream fails.
pub fn write_unkeyed_realisation(
    realisation: &UnkeyedRealisation,
    dir: &StoreDir,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_path(dir, &realisation.out_path)?;
    write_signatures(&realisation.signatures, writer)
}

/// The realisation of `output` where only its unkeyed part is known.
#[must_use]
pub fn with_stand_in(output: OutputName, unkeyed: UnkeyedRealisation) -> Realisation {
    Realisation {
        id: DrvOutput::stand_in(output),
        out_path: unkeyed.out_path,
        signatures: unkeyed.signatures,
        dependent_realisations: BTreeMap::new(),
    }
}

fn is_stand_in(id: &DrvOutput) -> bool {
    id.drv_hash.as_bytes().iter().all(|&byte| byte == 0)
}
