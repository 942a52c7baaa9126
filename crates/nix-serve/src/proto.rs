//! The serve protocol's values as bytes, without sessions: every function reads from or
//! writes to a stream that the caller owns, and none opens, waits or locks.
//!
//! A connection opens with a [`handshake`], then the client sends commands
//! ([`ServeCommand`], arguments in [`request`]) and the server answers each in order.
//! What optional fields a value has depends on the [`ServeVersion`] in force, the lower of
//! the two announced. There is no error reply: a server that can't go on closes the
//! stream. The protocol is described in `docs/formats/serve-protocol.md`.
//!
//! Readers bound all that a peer announces (see [`limit`]); a value over a limit is an
//! error that names the field.

pub mod build_result;
pub mod build_target;
pub mod command;
pub mod error;
pub mod feature;
pub mod handshake;
pub mod limit;
pub mod options;
pub mod path_info;
pub mod proof;
pub mod realisation;
pub mod request;
pub mod version;

pub use build_target::{BuildTarget, BuildTargetError, WantedOutputs};
pub use command::ServeCommand;
pub use error::ProtoError;
pub use feature::{Feature, Features};
pub use version::{Capabilities, ServeVersion, VersionWord};

/// Result of reading a protocol value.
pub type Result<T, E = ProtoError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests;
