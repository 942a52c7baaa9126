//! What can be wrong.

use std::path::PathBuf;

use nix_base::NarHash;

use crate::error::{Error, FullPath};

/// Something that isn't as the database says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyProblem {
    /// SQLite found a fault in the database file.
    #[error("database is damaged: {message}")]
    Database {
        /// SQLite's description of the fault.
        message: String,
    },

    /// A row refers to a path that has none.
    #[error("table '{table}' has a row {row} about a path that is not valid")]
    DanglingRow {
        /// The table.
        table: String,
        /// The row's number.
        row: i64,
    },

    /// The row of a path can't be understood.
    #[error("what is recorded of path '{path}' can't be understood")]
    BadRow {
        /// The path.
        path: FullPath,
        /// What is wrong with it.
        #[source]
        source: Box<Error>,
    },

    /// A valid path has no object.
    #[error(
        "path '{path}' disappeared{}",
        if *.has_valid_referrers { ", but it still has valid referrers!" } else { "" }
    )]
    Disappeared {
        /// The path.
        path: FullPath,
        /// Whether objects that are there refer to it.
        has_valid_referrers: bool,
    },

    /// The object has another content than the recorded one.
    #[error("path '{path}' was modified! expected hash '{expected}', got '{actual}'")]
    Modified {
        /// The path.
        path: FullPath,
        /// The recorded hash.
        expected: NarHash,
        /// The hash of what is there.
        actual: NarHash,
    },

    /// The object has the recorded content, but not the recorded size.
    #[error("path '{path}' has a NAR of {actual} bytes, while the database says {expected}")]
    WrongSize {
        /// The path.
        path: FullPath,
        /// The recorded size in bytes.
        expected: u64,
        /// The size of what is there, in bytes.
        actual: u64,
    },

    /// The path's hash was never recorded.
    #[error("path '{path}' has no hash in the database")]
    NoHash {
        /// The path.
        path: FullPath,
    },

    /// The object can't be read, or has parts that no store object may have.
    #[error("cannot read path '{path}'")]
    Unreadable {
        /// The path.
        path: FullPath,
        /// Why.
        #[source]
        source: Box<Error>,
    },

    /// The content is right, but owner, mode, time or attributes are not those of objects of
    /// a store.
    #[error("'{}' in path '{path}' {fault}{}", .file.display(), and_more(*.others))]
    WrongMetadata {
        /// The path.
        path: FullPath,
        /// The first file, directory or link where it is so.
        file: PathBuf,
        /// What is wrong with it.
        fault: MetadataFault,
        /// In how many more files, directories and links something is wrong.
        others: u64,
    },

    /// A file in the directory of deduplicated files is not what its name says.
    // Nix compat: its words.
    #[error("link '{}' was modified! expected hash '{expected}', got '{actual}'", .link.display())]
    LinkModified {
        /// The file.
        link: PathBuf,
        /// Its name.
        expected: String,
        /// What its name should be.
        actual: String,
    },

    /// A file in the directory of deduplicated files can't be read.
    #[error("cannot read link '{}'", .link.display())]
    LinkUnreadable {
        /// The file.
        link: PathBuf,
        /// Why.
        #[source]
        source: Box<Error>,
    },
}

/// How the metadata of a file, directory or link differs from that of objects of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataFault {
    /// Other permissions than reading, and executing.
    #[error("has mode {found:04o} instead of {expected:04o}")]
    Mode {
        /// What it has.
        found: u32,
        /// What it should have.
        expected: u32,
    },
    /// Another modification time than one second after 1970 began.
    #[error("was modified at {found} s instead of 1 s")]
    Time {
        /// In seconds since 1970.
        found: i64,
    },
    /// Another owner than that of the store directory.
    #[error("belongs to user {found} instead of {expected}")]
    Owner {
        /// Whose it is.
        found: u32,
        /// Whose it should be.
        expected: u32,
    },
    /// An extended attribute or ACL.
    #[error("has the extended attribute '{name}'")]
    Attribute {
        /// Its name.
        name: String,
    },
}

impl VerifyProblem {
    /// The path of the store that it is about.
    #[must_use]
    pub fn path(&self) -> Option<&FullPath> {
        match self {
            Self::BadRow { path, .. }
            | Self::Disappeared { path, .. }
            | Self::Modified { path, .. }
            | Self::WrongSize { path, .. }
            | Self::NoHash { path }
            | Self::Unreadable { path, .. }
            | Self::WrongMetadata { path, .. } => Some(path),
            Self::Database { .. }
            | Self::DanglingRow { .. }
            | Self::LinkModified { .. }
            | Self::LinkUnreadable { .. } => None,
        }
    }

    /// One word for its kind, for programs that read reports.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Database { .. } => "database",
            Self::DanglingRow { .. } => "dangling-row",
            Self::BadRow { .. } => "bad-row",
            Self::Disappeared { .. } => "disappeared",
            Self::Modified { .. } => "modified",
            Self::WrongSize { .. } => "wrong-size",
            Self::NoHash { .. } => "no-hash",
            Self::Unreadable { .. } => "unreadable",
            Self::WrongMetadata { .. } => "metadata",
            Self::LinkModified { .. } => "link-modified",
            Self::LinkUnreadable { .. } => "link-unreadable",
        }
    }
}

fn and_more(others: u64) -> String {
    match others {
        0 => String::new(),
        n => format!(", and {n} more are wrong"),
    }
}
