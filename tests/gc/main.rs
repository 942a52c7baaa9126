//! Collections beside clients and beside real Nix: what keeps a path, who is told, and what is
//! left.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that can't do its work has failed"
)]

mod builds;
mod crowd;
mod kills;
mod limits;
mod real_store;
mod room;
mod roots;
mod sockets;
