//! Integration tests of the serve protocol: its values against the vectors of other
//! projects, every version in scripted sessions, and our client against real servers.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests panic when something is amiss"
)]

mod objects;
mod real_servers;
mod script;
mod transcripts;
mod vectors;
