//! What can go wrong between a client and a server.

use std::fmt;
use std::io;
use std::process::ExitStatus;

use super::address::AddressError;
use crate::proto::{Feature, ProtoError, ServeCommand, ServeVersion};

/// An error of a store at our end.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection, a request or a copy that failed. Paths are full paths.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The store address is malformed.
    #[error("cannot use the store address")]
    Address(#[from] AddressError),
    /// The program that makes the connection could not be started.
    #[error("cannot start '{program}'")]
    Spawn {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection ended before the server said anything.
    #[error("cannot connect to '{host}'{end}")]
    Connect {
        /// The server.
        host: String,
        /// How it ended.
        end: RemoteEnd,
    },
    /// Something other than a server answered, such as a shell with a greeting.
    #[error("'nix-store --serve' protocol mismatch from '{host}', got '{got}'{end}")]
    Mismatch {
        /// The server.
        host: String,
        /// The beginning of what came, made printable.
        got: String,
        /// How it ended.
        end: RemoteEnd,
    },
    /// The server's major version is not ours.
    #[error("unsupported 'nix-store --serve' protocol version {version} on '{host}'")]
    UnsupportedVersion {
        /// The server.
        host: String,
        /// What it announced.
        version: ServeVersion,
    },
    /// No reply, or one that breaks the protocol.
    #[error("no proper answer from '{host}' to {command}{}{end}", For(.path))]
    Reply {
        /// The server.
        host: String,
        /// The command.
        command: ServeCommand,
        /// The object concerned, if it is one.
        path: Option<String>,
        /// What the server said and how it ended.
        end: RemoteEnd,
        /// What is wrong with the reply.
        #[source]
        source: Box<ProtoError>,
    },
    /// A request could not be sent.
    #[error("cannot send {command}{} to '{host}'{end}", For(.path))]
    Request {
        /// The server.
        host: String,
        /// The command.
        command: ServeCommand,
        /// The object concerned, if it is one.
        path: Option<String>,
        /// What the server said and how it ended.
        end: RemoteEnd,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server's version lacks a command.
    #[error("'{host}' speaks version {version} of the protocol, which has no {command}")]
    TooOld {
        /// The server.
        host: String,
        /// The command.
        command: ServeCommand,
        /// The version in force.
        version: ServeVersion,
    },
    /// The server lacks the feature that a command is part of.
    #[error("'{host}' does not have the feature '{feature}'")]
    NoFeature {
        /// The server.
        host: String,
        /// The feature.
        feature: Feature,
    },
    /// A derivation that can't be sent.
    #[error("cannot send derivation '{path}'")]
    Derivation {
        /// Its path.
        path: String,
        /// Why not.
        #[source]
        source: Box<nix_drv::Error>,
    },
    /// A reply that is well-formed but must not be believed.
    #[error("refusing what '{host}' says of '{path}': {reason}")]
    Distrusted {
        /// The server.
        host: String,
        /// The object concerned.
        path: String,
        /// Why not.
        reason: Distrust,
    },
    /// An object at our end could not be read.
    #[error("cannot dump '{path}'")]
    Dump {
        /// The object.
        path: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// An archive that is longer or shorter than its metadata say.
    #[error("NAR of '{path}' should have {expected} bytes but has {}", Actual(*.actual, *.expected))]
    NarSize {
        /// The object.
        path: String,
        /// What the metadata say.
        expected: u64,
        /// What there was, not counted beyond `expected`.
        actual: u64,
    },
    /// The store at our end can't answer.
    #[error("cannot query the local store")]
    Local(#[source] BoxError),
    /// An object was not taken by the store at our end.
    #[error("cannot import '{path}' from '{host}'")]
    Import {
        /// The server.
        host: String,
        /// The object.
        path: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The last of the imported objects could not be registered.
    #[error("cannot register the paths copied from '{host}'")]
    Finish {
        /// The server.
        host: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The references of some paths go in circles, so that none can be first.
    #[error("references of '{path}' form a cycle")]
    Cycle {
        /// One of them.
        path: String,
    },
    /// An earlier failure has ended this connection.
    #[error("the connection to '{host}' is closed")]
    Closed {
        /// The server.
        host: String,
    },
}

impl ClientError {
    /// Whether the server ended the connection, so that a new one may have better luck.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Request { .. } | Self::Closed { .. } => true,
            Self::Reply { source, .. } => source.is_eof(),
            _ => false,
        }
    }
}

/// Why a well-formed reply is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// The path is not among those asked about.
    #[error("it was not asked for")]
    NotAskedFor,
    /// The path comes twice.
    #[error("it is said twice")]
    Twice,
    /// A path that the server has in its closure is not valid there.
    #[error("it is not valid there")]
    NotValid,
    /// A path that was asked for is not in the closure.
    #[error("it is not in its own closure")]
    NotInClosure,
    /// A reference that will be missing here.
    #[error("it refers to '{0}', which is neither copied nor valid here")]
    ReferenceOutside(String),
    /// No size was said.
    #[error("its NAR size is missing")]
    NoNarSize,
    /// The path does not follow from the content address.
    #[error("its path is not that of its content address")]
    ContentAddress,
    /// No key that is trusted has signed it.
    #[error("it lacks a signature by a trusted key")]
    NotSigned,
}

/// What is known of a server that is gone: its exit status and its last words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemoteEnd {
    /// Its exit status, if it was seen.
    pub status: Option<ExitStatus>,
    /// The line on its stderr that looks most like a reason, made printable.
    pub last_words: Option<String>,
}

impl fmt::Display for RemoteEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(words) = &self.last_words {
            write!(f, ": it said '{words}'")?;
        }
        match self.status {
            Some(status) if !status.success() => write!(f, " ({status})"),
            _ => Ok(()),
        }
    }
}

/// ` for '<path>'`, or nothing.
struct For<'a>(&'a Option<String>);

impl fmt::Display for For<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => write!(f, " for '{path}'"),
            None => Ok(()),
        }
    }
}

struct Actual(u64, u64);

impl fmt::Display for Actual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            actual if actual >= self.1 => f.write_str("more"),
            actual => write!(f, "{actual}"),
        }
    }
}
