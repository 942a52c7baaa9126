//! Builders that are part of this program: `builtin:fetchurl`, `builtin:buildenv` and
//! `builtin:unpack-channel`.
//!
//! They run where an ordinary builder would: in the child, inside the sandbox, as the
//! builder's user, with descriptor 2 as the log. All they need from outside (certificates,
//! passwords) is read before and handed over in a [`BuiltinCall`].

mod attrs;
mod buildenv;
#[cfg(test)]
mod differential;
mod fetchurl;
mod say;
mod unpack_channel;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::buildenv::{BuildEnvError, PackagesError};
pub use self::fetchurl::FetchError;
pub use self::unpack_channel::UnpackError;

/// The prefix of a derivation's builder that asks for one of these.
pub const PREFIX: &str = "builtin:";

/// All that a builtin builder works with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltinCall {
    /// Which one, without `builtin:`.
    pub name: String,
    /// The derivation's attributes with all rewrites applied, and the variables that
    /// `impureEnvVars` names.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Structured attributes, as JSON, which are looked at for what `env` lacks.
    pub structured_attrs: Option<Vec<u8>>,
    /// Where the outputs are to be, as the builder sees it.
    pub outputs: BTreeMap<String, PathBuf>,
    /// Certificates in PEM, read before the sandbox was entered; `None`: no https.
    pub ca_bundle: Option<Vec<u8>>,
    /// The text of a netrc file, read before the sandbox was entered.
    pub netrc: Option<Vec<u8>>,
    /// Addresses that flat fixed outputs are looked for at first, as `MIRROR/ALGO/HEX`.
    pub hashed_mirrors: Vec<String>,
    /// The hash that the output must have.
    pub fixed: Option<FixedOutput>,
    /// Whether the derivation is impure.
    pub impure: bool,
    /// Seconds to wait for a connection; 0 means no limit.
    pub connect_timeout: u32,
    /// Whether only public addresses may be connected to.
    pub public_only: bool,
    /// The build directory as the builder sees it, which is also the working directory.
    pub build_dir: PathBuf,
}

/// The hash of a fixed output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedOutput {
    /// Such as `sha256`.
    pub algo: String,
    /// In base 16.
    pub hex: String,
    /// Whether it is that of a file's contents, rather than of an archive.
    pub flat: bool,
}

/// Why a builtin builder failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuiltinError {
    /// There is no such builder.
    #[error("unsupported builtin builder '{0}'")]
    Unknown(String),
    /// The derivation lacks an attribute.
    #[error("attribute '{0}' missing")]
    MissingAttribute(String),
    /// An attribute isn't text.
    #[error("attribute '{0}' isn't valid text")]
    NotText(String),
    /// The structured attributes aren't a JSON object.
    #[error("structured attributes can't be read")]
    StructuredAttrs(#[source] serde_json::Error),
    /// The derivation has no output of this name.
    #[error("output '{0}' missing")]
    MissingOutput(String),
    /// Fetching failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Building an environment failed.
    #[error(transparent)]
    BuildEnv(#[from] BuildEnvError),
    /// Unpacking a channel failed.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// Whether there is a builtin builder of this name (without `builtin:`).
#[must_use]
pub fn is_known(name: &str) -> bool {
    matches!(name, "fetchurl" | "buildenv" | "unpack-channel")
}

/// Runs a builtin builder; what it has to say goes to standard error.
///
/// # Errors
/// All that goes wrong. Nothing is cleaned up.
pub fn run(call: &BuiltinCall) -> Result<(), BuiltinError> {
    match call.name.as_str() {
        "fetchurl" => fetchurl::run(call),
        "buildenv" => buildenv::run(call),
        "unpack-channel" => unpack_channel::run(call),
        _ => Err(BuiltinError::Unknown(call.name.clone())),
    }
}

/// Runs a builtin builder, says what went wrong on standard error, and gives the exit
/// code: 0 or 1.
///
/// This is the last thing that a child of the helper does, so a panic must not get any
/// further: above are the frames of its parent.
#[must_use]
pub fn run_to_exit_code(call: &BuiltinCall) -> u8 {
    match std::panic::catch_unwind(AssertUnwindSafe(|| run(call))) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            say::error(&error);
            1
        }
        // The panic hook has said what there is to say.
        Err(_) => 1,
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}

#[cfg(test)]
mod tests;
