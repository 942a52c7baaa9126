//! What can go wrong with a cache.

use std::io;
use std::path::PathBuf;

use crate::narinfo::NarInfoError;

/// The result of a question to a cache.
pub type Result<T, E = CacheError> = std::result::Result<T, E>;

/// A cause whose type is an implementation detail.
pub type BoxedCause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failed question to a cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The address is of another kind.
    #[error("'{0}' is not the address of a cache: it must begin with file://, http:// or https://")]
    Address(String),
    /// Nobody is believed to vouch for servers.
    #[error("cannot use '{0}': there is no file with certificates of authorities")]
    NoCertificates(String),
    /// There is no description at the address.
    #[error("'{0}' does not appear to be a binary cache: it has no file 'nix-cache-info'")]
    NoCache(String),
    /// The cache is for another store directory.
    #[error("binary cache '{address}' is for the store directory '{theirs}', not '{ours}'")]
    OtherStore {
        /// The cache.
        address: String,
        /// What it is for.
        theirs: String,
        /// What was wanted.
        ours: String,
    },
    /// A file that describes an object makes no sense.
    #[error("bad NAR info file '{file}' in binary cache '{address}'")]
    NarInfo {
        /// The cache.
        address: String,
        /// The file.
        file: String,
        /// What is wrong.
        #[source]
        source: NarInfoError,
    },
    /// A file of a cache is longer than such files are.
    #[error("'{file}' in binary cache '{address}' is longer than {limit} bytes")]
    TooLong {
        /// The cache.
        address: String,
        /// The file.
        file: String,
        /// The limit.
        limit: u64,
    },
    /// The name of an archive leads out of the cache.
    #[error("'{name}' is not the name of a file in binary cache '{address}'")]
    Outside {
        /// The cache.
        address: String,
        /// The name.
        name: String,
    },
    /// An archive that is announced isn't there.
    #[error("binary cache '{address}' has no file '{file}', though it announces it")]
    Missing {
        /// The cache.
        address: String,
        /// The file.
        file: String,
    },
    /// An archive in a form that this program can't read.
    #[error("can't take off the compression '{0}': it is none of none, xz, bzip2, gzip and zstd")]
    Compression(String),
    /// A file of a cache in a directory can't be read.
    #[error("cannot read '{}'", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A server can't be reached, or hangs up.
    #[error("cannot fetch '{address}'")]
    Connection {
        /// What was asked for.
        address: String,
        /// Why.
        #[source]
        source: BoxedCause,
    },
    /// A server refuses.
    #[error("cannot fetch '{address}': the server answers with HTTP status {status}")]
    Status {
        /// What was asked for.
        address: String,
        /// What it says.
        status: u16,
    },
}

impl CacheError {
    /// Whether the server can't be reached, so that the next question is in vain as well.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}
