//! Integration tests of the store below the server: kills, full disks, many processes.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests panic when something is amiss, and read SOAK themselves"
)]

mod build_kills;
mod flushes;
mod kills;
