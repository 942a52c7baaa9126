//! Upkeep of a store: what is wrong in it is found, named and put right.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test that called them, and read SOAK themselves"
)]

mod fixture;
mod inspect;
mod keys;
mod optimise;
mod repair;
mod repair_kills;
mod verify;
