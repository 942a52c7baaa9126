//! Integration tests of the command line: the real program with its three faces.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't do its work has failed"
)]

mod building;
mod completions;
mod configuration;
mod copying;
mod faces;
mod messages;
mod path_arguments;
mod policies;
mod program;
mod queries;
mod refusals;
mod refusals_of_the_store;
mod signals;
mod store_commands;
