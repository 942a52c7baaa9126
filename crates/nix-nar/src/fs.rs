//! Trees on disk: the only part of the crate that touches a file system.

pub mod dump;
pub mod find;
pub mod map;
mod pipe;
pub mod remove;
pub mod restore;
pub mod watch;
