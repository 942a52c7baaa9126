//! Build results and the answer to `BuildPaths`, by version.
//!
//! | Field | Type | since |
//! |---|---|---|
//! | status | int, at most 14 | 2.1 |
//! | error message | string | 2.1 |
//! | times built, is non-deterministic, start, stop | int, bool, time, time | 2.3 |
//! | built outputs | map of output id to JSON | 2.6 |
//! | built outputs | map of output name to path and signatures | 2.8 |

use std::io::{self, Read, Write};

use nix_base::{
    BuildResult, BuildStatus, BuiltOutputs, StoreDir, UnkeyedRealisation, WireRead, WireWrite,
};

use super::limit::{MAX_ERROR_TEXT, MAX_OUTPUTS};
use super::realisation::{
    read_drv_output, read_output_name, read_realisation, read_unkeyed_realisation, with_stand_in,
    write_drv_output, write_realisation, write_unkeyed_realisation,
};
use super::{ProtoError, Result, ServeVersion};
use crate::text::printable;

/// Reads a build result; fields that `version` lacks are zero or empty.
///
/// `version` must be what the server writes: Nix 2.4–2.10 append the outputs whatever the
/// client announced, so announce at least 2.6 to them.
///
/// # Errors
/// The stream ends or fails, or a field does not parse.
pub fn read_build_result(
    dir: &StoreDir,
    version: ServeVersion,
    reader: &mut (impl Read + ?Sized),
) -> Result<BuildResult> {
    let code = reader.read_int("the build status")?;
    let status = BuildStatus::from_code(code.into()).ok_or(ProtoError::UnknownStatus(code))?;
    let mut result = BuildResult::failure(status, read_error_text(reader)?);
    if version.has_build_times() {
        result.times_built = reader.read_int("the number of builds")?;
        result.is_non_deterministic = reader.read_bool("is non-deterministic")?;
        result.start_time = reader.read_time("the start time")?;
        result.stop_time = reader.read_time("the stop time")?;
    }
    if version.has_built_outputs() {
        result.built_outputs = read_built_outputs(dir, version, reader)?;
    }
    Ok(result)
}

/// Writes a build result; fields that `version` lacks are left out.
///
/// # Errors
/// The stream fails.
pub fn write_build_result(
    result: &BuildResult,
    dir: &StoreDir,
    version: ServeVersion,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_u64(result.status.code().into())?;
    write_error_text(&result.error_msg, writer)?;
    if version.has_build_times() {
        writer.write_u64(result.times_built.into())?;
        writer.write_bool(result.is_non_deterministic)?;
        writer.write_time(result.start_time)?;
        writer.write_time(result.stop_time)?;
    }
    if version.has_built_outputs() {
        write_built_outputs(&result.built_outputs, dir, version, writer)?;
    }
    Ok(())
}

/// The answer to `BuildPaths`: the exit status that the build would have had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildPathsReply {
    /// 0 is success, 100 and more a failed build, and not a [`BuildStatus`].
    pub status: u32,
    /// Why it failed; not sent on success.
    pub error_msg: String,
}

impl BuildPathsReply {
    /// Reads the answer.
    ///
    /// # Errors
    /// The stream ends or fails, or the message is too long.
    pub fn read(reader: &mut (impl Read + ?Sized)) -> Result<Self> {
        let status = reader.read_int("the status of the build")?;
        let error_msg = match status {
            0 => String::new(),
            _ => read_error_text(reader)?,
        };
        Ok(Self { status, error_msg })
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// The stream fails.
    pub fn write(&self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        writer.write_u64(self.status.into())?;
        match self.status {
            0 => Ok(()),
            _ => write_error_text(&self.error_msg, writer),
        }
    }
}

fn read_built_outputs(
    dir: &StoreDir,
    version: ServeVersion,
    reader: &mut (impl Read + ?Sized),
) -> Result<BuiltOutputs> {
    let count = reader.read_count("the built outputs", MAX_OUTPUTS)?;
    let mut outputs = BuiltOutputs::new();
    for _ in 0..count {
        let (name, realisation) = if version.has_realisations_by_name() {
            let name = read_output_name(reader)?;
            let unkeyed = read_unkeyed_realisation(dir, reader)?;
            (name.clone(), with_stand_in(name, unkeyed))
        } else {
            let id = read_drv_output(reader)?;
            (id.output, read_realisation(reader)?)
        };
        outputs.insert(name, realisation);
    }
    Ok(outputs)
}

fn write_built_outputs(
    outputs: &BuiltOutputs,
    dir: &StoreDir,
    version: ServeVersion,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_u64(outputs.len() as u64)?;
    for (name, realisation) in outputs {
        if version.has_realisations_by_name() {
            writer.write_str(name.as_str())?;
            let unkeyed = UnkeyedRealisation {
                out_path: realisation.out_path.clone(),
                signatures: realisation.signatures.clone(),
            };
            write_unkeyed_realisation(&unkeyed, dir, writer)?;
        } else {
            write_drv_output(&realisation.id, writer)?;
            write_realisation(realisation, writer)?;
        }
    }
    Ok(())
}

/// The text with its colours; what is not UTF-8 becomes visible escapes.
fn read_error_text(reader: &mut (impl Read + ?Sized)) -> Result<String> {
    let bytes = reader.read_bytes("the error message", MAX_ERROR_TEXT)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| printable(error.as_bytes())))
}

/// Cuts what a reader of ours would refuse.
fn write_error_text(text: &str, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let limit = usize::try_from(MAX_ERROR_TEXT).unwrap_or(usize::MAX);
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    writer.write_str(&text[..end])
}
