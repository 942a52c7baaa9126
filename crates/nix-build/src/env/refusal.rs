//! Attributes that can't be used, as a failure of the build.

use nix_drv::Error;

use crate::failure::BuildFailure;

/// The failure of a build whose attributes can't be read.
#[must_use]
pub fn options_failure(error: &Error) -> BuildFailure {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    BuildFailure::misc(message)
}
