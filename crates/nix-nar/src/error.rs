//! What can go wrong with an archive, a listing, an export stream or a tree on disk.

use std::io;
use std::path::PathBuf;

use bstr::BString;
use thiserror::Error;

/// A result whose error is this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any failure of this crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a well-formed archive.
    #[error("bad archive: {problem} (offset {offset}, in '{path}')")]
    BadArchive {
        /// Offset in bytes from the start of the archive.
        offset: u64,
        /// Path inside the archive that was being read; empty for its root.
        path: BString,
        /// The rule that is broken.
        problem: Problem,
    },

    /// A caller handed the writer something that no archive can hold.
    #[error("cannot archive '{path}': {problem}")]
    Unwritable {
        /// Path inside the archive.
        path: BString,
        /// The rule that would be broken.
        problem: Problem,
    },

    /// Reading the archive failed.
    #[error("cannot read the archive at offset {offset}")]
    Read {
        /// Offset in bytes from the start of the archive.
        offset: u64,
        /// The reader's error.
        #[source]
        source: io::Error,
    },

    /// Writing the archive, or forwarding it, failed.
    #[error("cannot write the archive at offset {offset}")]
    Write {
        /// Offset in bytes from the start of the archive.
        offset: u64,
        /// The writer's error.
        #[source]
        source: io::Error,
    },

    /// A system call on a file of the tree failed.
    #[error("cannot {operation} '{}'", path.display())]
    File {
        /// What was tried, as a verb with its object: `create file`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },

    /// Neither a regular file, a directory nor a symbolic link.
    #[error("file '{}' has an unsupported type", path.display())]
    UnsupportedType {
        /// The file.
        path: PathBuf,
    },

    /// The file became shorter while it was read, or is no longer what it was.
    #[error("file '{}' changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },

    /// The tree on disk is nested deeper than an archive may be.
    #[error("path '{}' exceeds maximum NAR directory depth of {}", path.display(), crate::MAX_DEPTH)]
    TooDeep {
        /// The first path that is too deep.
        path: PathBuf,
    },

    /// Another file system is mounted inside of a tree that is to be removed.
    #[error("'{}' is a mount point", path.display())]
    MountPoint {
        /// The directory.
        path: PathBuf,
    },

    /// A listing is not valid JSON, or not a listing.
    #[error("bad listing: {problem} (in '{path}')")]
    BadListing {
        /// Path inside the listing; empty for its root.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// A listing is not JSON.
    #[error("bad listing")]
    ListingSyntax {
        /// The JSON parser's error.
        #[source]
        source: serde_json::Error,
    },

    /// A name or link target that JSON cannot represent.
    #[error("'{path}' is not UTF-8 and cannot be listed")]
    NotUtf8 {
        /// Path inside the archive.
        path: BString,
    },

    /// The bytes are not an export stream.
    #[error("{problem} (archive {archive} of the export stream)")]
    BadExport {
        /// Counted from 1.
        archive: u64,
        /// What is wrong.
        problem: ExportProblem,
    },

    /// A field of an export stream cannot be read or written.
    #[error("cannot transfer {field} of archive {archive} of the export stream")]
    ExportField {
        /// Counted from 1.
        archive: u64,
        /// The field's name.
        field: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The rule of the archive format that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The first token is not the format's magic.
    #[error("input doesn't look like a Nix archive")]
    Magic,
    /// Some other token than the only one allowed here.
    #[error("expected tag '{expected}', got '{found}'")]
    UnexpectedTag {
        /// The token that the grammar demands.
        expected: &'static str,
        /// The token that came.
        found: BString,
    },
    /// The type of a node is none of the three.
    #[error("unknown file type '{0}'")]
    UnknownType(BString),
    /// A token, name or link target longer than it may be.
    #[error("string is too long ({length} bytes, at most {limit})")]
    StringTooLong {
        /// Announced length in bytes.
        length: u64,
        /// The most that is allowed, in bytes.
        limit: u64,
    },
    /// The marker of an executable file has a value.
    #[error("executable marker has non-empty value")]
    ExecutableValue,
    /// A name that is empty, `.`, `..`, too long, or contains `/` or NUL.
    #[error("NAR contains invalid file name '{0}'")]
    InvalidName(BString),
    /// A name that is not greater than the one before it in the directory.
    #[error("NAR directory is not sorted: '{name}' after '{previous}'")]
    NotSorted {
        /// The offending name.
        name: BString,
        /// The entry before it.
        previous: BString,
    },
    /// A link target that is empty, too long or contains NUL.
    #[error("NAR contains invalid symlink target '{0}'")]
    InvalidTarget(BString),
    /// Padding that is not zero.
    #[error("non-zero padding")]
    Padding,
    /// A node below [`crate::MAX_DEPTH`] directories.
    #[error("NAR directory nesting exceeds maximum depth of {}", crate::MAX_DEPTH)]
    TooDeep,
    /// The input ends inside of the archive.
    #[error("unexpected end-of-file")]
    UnexpectedEnd,
    /// The archive is longer than the size that was announced for it.
    #[error("archive is longer than {limit} bytes")]
    TooLong {
        /// The size announced, in bytes.
        limit: u64,
    },
    /// Contents that differ in length from what their header says.
    #[error("contents of {given} bytes instead of {announced}")]
    ContentsLength {
        /// The size in the header.
        announced: u64,
        /// Bytes that were given.
        given: u64,
    },
    /// Calls on a writer in an order that makes no archive.
    #[error("{0}")]
    Sequence(&'static str),
}

/// What is wrong with an export stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExportProblem {
    /// Neither "another archive" nor "end" at the start of an element.
    #[error("input doesn't look like something created by 'nix-store --export'")]
    Marker,
    /// The trailer does not begin with its magic.
    #[error("Nix archive cannot be imported; wrong format")]
    Magic,
    /// The flag for a signature is neither 0 nor 1.
    #[error("signature flag is neither 0 nor 1")]
    SignatureFlag,
}

impl Error {
    /// Whether a file could not be created because its place is taken.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// Whether the root of the tree does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the input is to blame, rather than this machine or the caller.
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::BadArchive { .. }
                | Self::BadListing { .. }
                | Self::ListingSyntax { .. }
                | Self::BadExport { .. }
        )
    }

    /// Whether the input ended before the archive did.
    pub fn is_truncated(&self) -> bool {
        matches!(
            self,
            Self::BadArchive {
                problem: Problem::UnexpectedEnd,
                ..
            }
        )
    }
}
