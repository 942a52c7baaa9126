//! Builds: ours beside those of real Nix, and what builders may not do.
//!
//! Expressions are instantiated by real Nix; a static busybox builds them, so no package set
//! is needed. Real Nix builds first wherever it can be the judge.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test that called them, and read SOAK themselves"
)]

mod commands;
mod crowd;
mod direct;
mod equal;
mod escapes;
mod generate;
mod logs;
mod place;
mod processes;
mod refusals;
mod remote;
mod resources;
mod site;
mod slots;
mod store_rows;
