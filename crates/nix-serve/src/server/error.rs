//! Why a connection ended before the client closed it.

use std::io;
use std::time::Duration;

use crate::proto::{ProtoError, ServeCommand};

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
    /// A command that this server doesn't have.
    #[error(
        "command {0} is not supported: this server copies objects but does not build; name another machine in 'builders'"
    )]
    NotSupported(ServeCommand),
    /// A command that needs `--write` on a connection without.
    // Nix compat: clients know these texts.
    #[error("{what} is not allowed: the server runs without '--write'")]
    NotAllowed {
        /// `importing paths` or `building paths`.
        what: &'static str,
    },
    /// The arguments of a command are malformed.
    #[error("cannot read the arguments of command {command}")]
    Arguments {
        /// The command.
        command: ServeCommand,
        /// What is wrong with them.
        #[source]
        source: ProtoError,
    },
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
    /// The process was asked to end.
    #[error("interrupted by a signal")]
    Interrupted,
    /// The store's address or configuration is bad; the text says how.
    #[error("{0}")]
    Open(String),
}
