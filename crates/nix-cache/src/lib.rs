#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod compress;
mod error;
mod http;
mod narinfo;
mod source;

pub use compress::{Compression, Decoder};
pub use error::{BoxedCause, CacheError, Result};
pub use narinfo::{NarInfo, NarInfoError};
pub use source::{CacheOptions, CacheSource};
