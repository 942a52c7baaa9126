//! The server side of the serve protocol: one connection, one request after the other.
//!
//! ```text
//! handshake answered → store opened → loop { command word → arguments → act → reply }
//! ```
//!
//! The store is opened only after the greeting went out, so that the client's next message
//! travels meanwhile. Imports that arrive back to back are committed together: before any
//! read that would block, before any other command, and when a batch is full.
//!
//! There is no error reply in this protocol: a server that can't go on says why on stderr,
//! closes the stream and exits with status 1. The protocol is described in
//! `docs/formats/serve-protocol.md`.

mod audit;
mod build;
mod error;
mod hangup;
mod import;
mod input;
mod proof;
mod refusal;
mod session;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use audit::{Audit, AuditRecord, NoAudit, Verdict};
pub use build::{BuildService, DerivationRequest, NoBuilds, PathsRequest};
pub use error::ServeError;
pub use input::{Source, StopFlag};
use nix_store_core::LocalStore;
pub use refusal::{Refusal, Rule};

use crate::proto::{Capabilities, Features, VersionWord, handshake};
use input::SessionInput;
use session::Session;

/// What a connection may do, and how it is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Whether commands that change the store are allowed (`--write`).
    pub write: bool,
    /// What is announced; in force is the lower of this and the client's.
    pub announce: VersionWord,
    /// What is offered to clients of our own kind.
    pub features: Features,
    /// How long a peer may stall inside a message. Between messages there is no limit.
    pub stall_timeout: Duration,
    /// Set from outside to end the connection at the next wait.
    pub stop: StopFlag,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            write: false,
            announce: VersionWord::OURS,
            features: Features::NONE,
            stall_timeout: Duration::from_secs(300),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Serves one connection until the client closes it.
///
/// `open` is called once, after the greeting was answered; `builds` runs what the client
/// wants built.
///
/// # Errors
/// A request that breaks the protocol, isn't allowed or fails; see [`ServeError`]. What was
/// acknowledged before stays valid.
pub fn serve(
    options: &ServeOptions,
    open: impl FnOnce() -> Result<LocalStore, ServeError>,
    builds: &dyn BuildService,
    input: impl Source,
    mut output: impl Write,
) -> Result<(), ServeError> {
    let mut input = SessionInput::new(input, options);
    let client = handshake::serve_handshake(options.announce, &mut input, &mut output)
        .map_err(|source| input.explain(source))?;
    let agreed = handshake::negotiate(options.announce, client);
    tracing::debug!(version = %agreed.version, "serving");
    if agreed.capabilities.contains(Capabilities::EXTENSIONS) {
        handshake::write_server_features(options.features, &mut output)
            .map_err(ServeError::Handshake)?;
    }
    let store = open()?;
    Session::new(options, agreed, &store, builds, output).run(input)
}

#[cfg(test)]
mod tests;
