//! Without trust: untrusted clients build from sources up, and nothing that they make up becomes
//! valid.
//!
//! Expressions are instantiated by real Nix; a static busybox builds them, so no package set
//! is needed.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test that called them, and read SOAK themselves"
)]

mod closure;
mod flags;
mod forged_files;
mod forgeries;
mod from_sources;
mod imports;
mod proofs;
mod quotas;
mod site;
mod tricks;
mod two_keys;
mod views;
