//! The client's side: connections to a `nix-store --serve` of any make, and copying over
//! them.
//!
//! ```text
//! StoreAddress ── Transport ── ClientConnection ─┬─ RemoteStore    questions, single NARs
//!   what to        ssh, a        handshake,      ├─ copy_to        closure to the remote
//!   connect to     command       exchanges       └─ copy_from      closure from the remote
//! ```
//!
//! Everything is *pipelined*: a request goes out without waiting for the reply to the one
//! before, so the number of round trips doesn't grow with the number of paths. That can't
//! deadlock with a server that is slow to read or to answer, since requests and replies
//! have a thread each whenever either may outgrow a pipe, and a third one drains the
//! remote's stderr all the time.
//!
//! A server has no way to say what went wrong but its stderr and its end, so an error
//! carries both ([`RemoteEnd`]).

pub mod address;
mod build;
pub mod connection;
pub mod copy_from;
pub mod copy_to;
pub mod error;
pub mod order;
pub mod progress;
mod remote_log;
pub mod remote_store;
pub mod ssh;
pub mod transport;

#[cfg(test)]
pub(crate) mod fake_server;

pub use address::{AddressError, Parameters, SshAddress, StoreAddress};
pub use connection::ClientConnection;
pub use copy_from::{CopyFromOptions, CopyFromPlan, NarImporter};
pub use copy_to::{CopyToPlan, NarSource, Substitute};
pub use error::{BoxError, ClientError, Distrust, RemoteEnd};
pub use progress::{CopyProgress, CopySummary, NoProgress};
pub use remote_store::RemoteStore;
pub use transport::{Terminator, Transport, TransportOptions};

/// Result of what a client does.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;
