#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod active;
pub mod builder;
pub mod builtin;
pub mod cancel;
pub mod config;
pub mod doctor;
pub mod env;
pub mod failure;
pub mod goal;
pub mod graph;
pub mod helper;
pub mod hook;
mod leftovers;
pub mod log;
pub mod output;
pub mod request;
pub mod requester;
pub mod sandbox;
pub mod scheduler;
pub mod scratch;
pub mod slots;
pub mod users;

pub use builder::Builder;
pub use cancel::Cancel;
pub use config::BuildConfig;
pub use failure::{BuildFailure, Result};
pub use leftovers::remove_leftovers;
pub use request::{BuildLimits, BuildMode, BuildRequest};
pub use requester::{NetworkRight, Requester, Restrictions};
