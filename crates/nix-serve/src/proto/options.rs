//! Build options, by version.
//!
//! | Field | Type | since |
//! |---|---|---|
//! | max silent time, build timeout | int, seconds | 2.0 |
//! | max log size | u64, bytes | 2.2 |
//! | repeats, enforce determinism | int | 2.3 |
//! | keep failed | int | 2.7 |

use std::io::{self, Read, Write};

use nix_base::{BuildOptions, WireRead, WireWrite};

use super::{Result, ServeVersion};

/// Reads build options; fields that `version` lacks are zero.
///
/// # Errors
/// The stream ends or fails, or a number is too large.
pub fn read_build_options(
    version: ServeVersion,
    reader: &mut (impl Read + ?Sized),
) -> Result<BuildOptions> {
    let mut options = BuildOptions {
        max_silent_time: reader.read_int("the maximum silent time")?,
        build_timeout: reader.read_int("the build timeout")?,
        ..BuildOptions::default()
    };
    if version.has_max_log_size() {
        options.max_log_size = reader.read_u64("the maximum log size")?;
    }
    if version.has_repeats() {
        options.nr_repeats = reader.read_int("the number of repeats")?;
        options.enforce_determinism = reader.read_bool("enforce determinism")?;
    }
    if version.has_keep_failed() {
        options.keep_failed = reader.read_bool("keep failed")?;
    }
    Ok(options)
}

/// Writes build options; fields that `version` lacks are left out.
///
/// # Errors
/// The stream fails.
pub fn write_build_options(
    options: &BuildOptions,
    version: ServeVersion,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_u64(options.max_silent_time.into())?;
    writer.write_u64(options.build_timeout.into())?;
    if version.has_max_log_size() {
        writer.write_u64(options.max_log_size)?;
    }
    if version.has_repeats() {
        writer.write_u64(options.nr_repeats.into())?;
        writer.write_bool(options.enforce_determinism)?;
    }
    if version.has_keep_failed() {
        writer.write_bool(options.keep_failed)?;
    }
    Ok(())
}
