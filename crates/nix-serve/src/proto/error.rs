//! What can be wrong with a protocol value.

use nix_base::content_address::ContentAddressError;
use nix_base::json::JsonError;
use nix_base::store_path::NameError;
use nix_base::{HashError, SignatureError, WireError};

use super::ServeVersion;
use crate::text::printable;

/// A value that breaks the protocol, or a stream that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtoError {
    /// A primitive could not be read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The stream could not be written to.
    #[error("cannot write {field}")]
    Write {
        /// What was being written.
        field: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The first word is not the other side's magic number.
    #[error("protocol mismatch, got '{}'", printable(.got))]
    Mismatch {
        /// What came instead, as far as it was read.
        got: Vec<u8>,
    },
    /// The stream ended before the other side said anything.
    #[error("the other side closed the connection without a word")]
    NoAnswer,
    /// A major version other than 2.
    #[error("unsupported protocol version {0}: only major version 2 is spoken")]
    UnsupportedVersion(ServeVersion),
    /// A command number that is not in the protocol.
    #[error("unknown serve command {0}")]
    UnknownCommand(u32),
    /// A name of a feature with other characters than it may have.
    #[error("'{}' cannot be the name of a feature", printable(.0.as_bytes()))]
    FeatureName(String),
    /// A list of features that isn't sorted, or has an empty name.
    #[error("feature '{0}' is out of order")]
    FeatureOrder(String),
    /// A reply about something that the question was not about.
    #[error("{0} was not asked for")]
    NotAskedFor(&'static str),
    /// A hash that does not parse, or is no SHA-256.
    #[error("{field} is not a SHA-256")]
    Hash {
        /// The value concerned.
        field: &'static str,
        /// Why not.
        #[source]
        source: HashError,
    },
    /// A path info without NAR size.
    #[error("narInfo is too old and missing the narSize field")]
    MissingNarSize,
    /// A content address that does not parse.
    #[error("{field} is not a content address")]
    ContentAddress {
        /// The value concerned.
        field: &'static str,
        /// Why not.
        #[source]
        source: ContentAddressError,
    },
    /// A signature that can't be kept.
    #[error("{field} has a signature that cannot be kept")]
    Signature {
        /// The value concerned.
        field: &'static str,
        /// Why not.
        #[source]
        source: SignatureError,
    },
    /// A build status that no release knows.
    #[error("invalid build status {0}")]
    UnknownStatus(u32),
    /// A realisation that does not parse.
    #[error("{field} is not a realisation")]
    Realisation {
        /// The value concerned.
        field: &'static str,
        /// Why not.
        #[source]
        source: JsonError,
    },
    /// A key of a map of realisations that does not parse.
    #[error("'{0}' is not the id of an output")]
    OutputId(String),
    /// An output name that breaks the rules of names.
    #[error("{field} is not an output name")]
    OutputName {
        /// The value concerned.
        field: &'static str,
        /// Why not.
        #[source]
        source: NameError,
    },
    /// An acknowledgement other than 1.
    #[error("expected 1 as {field}, got {got}")]
    BadAck {
        /// What is acknowledged.
        field: &'static str,
        /// What came instead.
        got: u64,
    },
}

impl ProtoError {
    /// Whether the stream ended inside a value or before the first.
    #[must_use]
    pub const fn is_eof(&self) -> bool {
        match self {
            Self::Wire(wire) => wire.is_eof(),
            Self::NoAnswer => true,
            _ => false,
        }
    }
}
