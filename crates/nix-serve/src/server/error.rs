//! Why a connection ended before the client closed it.

use std::io;
use std::time::Duration;

use super::Refusal;
use crate::proto::{BuildTargetError, ProtoError, ServeCommand};

/// A connection that was ended by the server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The client's greeting could not be understood.
    #[error("the client doesn't speak the serve protocol")]
    Handshake(#[source] ProtoError),
    /// The command word is unknown or broken.
    // Nix compat: `unknown serve command N` stands alone.
    #[error(transparent)]
    Command(ProtoError),
    /// A command that needs `--write` on a connection without.
    // Nix compat: clients know these texts.
    #[error("{what} is not allowed: the server runs without '--write'")]
    NotAllowed {
        /// `importing paths` or `building paths`.
        what: &'static str,
    },
    /// Something that the client's role doesn't allow, or that could not be verified.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The arguments of a command are malformed.
    #[error("cannot read the arguments of command {command}")]
    Arguments {
        /// The command.
        command: ServeCommand,
        /// What is wrong with them.
        #[source]
        source: ProtoError,
    },
    /// A derivation that was sent isn't one.
    #[error("cannot read derivation '{path}' from the client")]
    Derivation {
        /// Its path.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<nix_drv::Error>,
    },
    /// Something that can't be built by its form.
    #[error("cannot read what is to be built")]
    Target(#[source] BuildTargetError),
    /// The client wants more than one build of everything.
    // Nix compat: its words, since 2.13.
    #[error("client requested repeating builds, but this is not currently implemented")]
    Repeats,
    /// The client's end can't be watched during a build.
    #[error("cannot watch the client's end of the connection")]
    Watch(#[source] io::Error),
    /// An export stream is malformed.
    #[error("cannot read the export stream of command {command}")]
    Stream {
        /// The command.
        command: ServeCommand,
        /// What is wrong with it.
        #[source]
        source: nix_nar::Error,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] nix_store_core::Error),
    /// The reply could not be written.
    #[error("cannot write the reply to command {command}")]
    Reply {
        /// The command.
        command: ServeCommand,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The client stopped sending inside a message.
    #[error("the client sent nothing for {} s inside a message", .0.as_secs())]
    Stalled(Duration),
    /// The process was asked to end, or the client hung up while its build ran.
    #[error("interrupted by a signal or by the client's end")]
    Interrupted,
    /// The store's address or configuration is bad; the text says how.
    #[error("{0}")]
    Open(String),
}

impl From<Refusal> for ServeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}
