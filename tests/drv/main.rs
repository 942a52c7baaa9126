//! Derivations side by side with every release of real Nix: hundreds of them, made by
//! `nix-instantiate`, and others that were tampered with.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that called them"
)]

mod altered;
mod commands;
mod instantiated;
mod private_store;
