//! What builtin builders write into the log: descriptor 2 is the log.

use std::error::Error;
use std::io::Write;

pub(super) use crate::failure::with_causes;

/// Writes a line. A log that is gone is no reason to fail.
pub(super) fn line(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Writes a warning.
pub(super) fn warning(text: &str) {
    line(&format!("warning: {text}"));
}

/// Writes an error with all its causes.
pub(super) fn error(error: &dyn Error) {
    line(&format!("error: {}", with_causes(error)));
}
