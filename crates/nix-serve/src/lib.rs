#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod audit_log;
mod builds;
pub mod cli;
pub mod client;
pub mod policy;
pub mod proto;
pub mod server;
pub mod text;
