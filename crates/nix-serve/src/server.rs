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
mod evidence;
mod guard;
mod hangup;
mod import;
mod input;
mod note;
mod proof;
mod refusal;
mod session;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use audit::{Audit, AuditRecord, NoAudit, Verdict};
pub use build::{BuildService, DerivationRequest, KeySlots, NoBuilds, PathsOutcome, PathsRequest};
pub(crate) use build::{outputs_of, seconds_of};
pub use error::ServeError;
pub use input::{Source, StopFlag};
use nix_store_core::LocalStore;
pub use refusal::{Refusal, Rule};

use crate::policy::{Capability, Role};
use crate::proto::{Capabilities, Feature, Features, VersionWord, handshake};
use input::SessionInput;
use session::Session;

/// What a connection may do, and how it is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// What the client may do.
    pub role: Role,
    /// Is told what the client did.
    pub audit: Arc<dyn Audit>,
    /// What is announced; in force is the lower of this and the client's.
    pub announce: VersionWord,
    /// How long a peer may stall inside a message. Between messages there is no limit.
    pub stall_timeout: Duration,
    /// Set from outside to end the connection at the next wait.
    pub stop: StopFlag,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            role: Role::read_only(),
            audit: Arc::new(NoAudit),
            announce: VersionWord::OURS,
            stall_timeout: Duration::from_secs(300),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

impl ServeOptions {
    /// What is offered to clients of our own kind: proofs are for servers that don't build
    /// on a client's word.
    fn features(&self) -> Features {
        let is_held_to_proofs =
            self.role.allows(Capability::BuildVerified) && !self.role.allows(Capability::BuildAny);
        match is_held_to_proofs {
            true => Features::NONE.with(Feature::Proof),
            false => Features::NONE,
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
        handshake::write_server_features(options.features(), &mut output)
            .map_err(ServeError::Handshake)?;
    }
    let store = open()?;
    Session::new(options, agreed, &store, builds, output).run(input)
}

#[cfg(test)]
mod tests;
