#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod copy;
mod error;
pub mod export;
pub mod frame;
pub mod fs;
pub mod listing;
mod names;
mod needles;
mod read;
mod refscan;
mod rewrite;
mod token;
#[cfg(test)]
mod tree;
mod write;

pub use copy::{copy, copy_limited};
pub use error::{Error, ExportProblem, Problem, Result};
pub use read::{Event, NarReader, Node};
pub use refscan::RefScanSink;
pub use rewrite::RewriteSink;
pub use token::{MAX_DEPTH, MAX_NAME, MAX_TARGET, size};
pub use write::{NarWriter, write_regular};
