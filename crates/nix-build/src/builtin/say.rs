//! What builtin builders write into the log: descriptor 2 is the log.

use std::error::Error;
use std::io::Write;

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

/// An error and its causes, one behind the other.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
