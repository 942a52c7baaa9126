//! Real Nix on the other side: releases 2.3, 2.8, 2.26 and the newest one.
//!
//! Each test runs between machines of its own (`test_support::Machine`), so
//! they may run in parallel. A release that isn't there is said aloud.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that called them"
)]

mod derivations;
mod our_client;
mod our_server;
mod our_store;
mod pins;
mod real_ssh;
mod shared_store;
mod sides;
