//! What can go wrong with a store.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use nix_base::{ContentAddress, NarHash, StoreDir, StorePath};

use crate::local::CanonicaliseError;

/// The result of an operation on a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause whose type is an implementation detail.
pub type BoxedCause = Box<dyn StdError + Send + Sync + 'static>;

/// A failed operation on a store. The store is unchanged unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path isn't registered.
    // Nix compat: clients compare this text.
    #[error("path '{}' is not valid", .0)]
    NotValid(Box<FullPath>),

    /// Other valid paths refer to the path that was to become invalid.
    #[error("cannot delete path '{path}' because it is in use by {}", quoted_list(.referrers))]
    PathInUse {
        /// The path that stays.
        path: Box<FullPath>,
        /// The valid paths that refer to it, itself excepted.
        referrers: Vec<FullPath>,
    },

    /// A path that was to be deleted is kept by a root, or by what refers to it.
    // Nix compat: its words.
    #[error(
        "Cannot delete path '{0}' since it is still alive. To find out why, use: nix-store --query --roots and nix-store --query --referrers"
    )]
    StillAlive(Box<FullPath>),

    /// Paths registered together refer to each other in a circle.
    #[error("cycle detected in the references of '{path}' from '{referrer}'")]
    ReferenceCycle {
        /// A path of the circle.
        path: Box<FullPath>,
        /// A path of the circle that refers to it.
        referrer: Box<FullPath>,
    },

    /// The content address doesn't give this path.
    #[error(
        "cannot add path '{path}' to the Nix store because it claims to be content-addressed but isn't"
    )]
    WrongContentAddress {
        /// The path.
        path: Box<FullPath>,
        /// What it claims.
        ca: Box<ContentAddress>,
    },

    /// The content isn't what was announced or recorded.
    #[error("hash mismatch in path '{path}': expected 'sha256:{}', got 'sha256:{}'",
        .expected.to_base16(), .actual.to_base16())]
    HashMismatch {
        /// The path.
        path: Box<FullPath>,
        /// The announced or recorded hash of the NAR.
        expected: NarHash,
        /// The hash of the NAR that was found.
        actual: NarHash,
    },

    /// The NAR isn't as long as announced or recorded.
    #[error("size mismatch in path '{path}': expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// The path.
        path: Box<FullPath>,
        /// The announced or recorded size of the NAR in bytes.
        expected: u64,
        /// The size of the NAR that was found, in bytes.
        actual: u64,
    },

    /// A number doesn't fit the database.
    #[error("{field} {value} of path '{path}' is larger than the database can hold")]
    TooLarge {
        /// What was too large.
        field: &'static str,
        /// The number.
        value: u64,
        /// The path it belongs to.
        path: Box<FullPath>,
    },

    /// There is no store, and none was to be made.
    #[error("there is no store in '{}': make one with 'nix-serve init'", .state.display())]
    NoStore {
        /// The state directory.
        state: PathBuf,
    },

    /// The database has a schema that this program doesn't know.
    #[error(
        "current Nix store schema is version {found}, but I only support {supported}: {}",
        schema_advice(*.found, *.supported)
    )]
    UnsupportedSchema {
        /// The version on disk.
        found: u32,
        /// The version that this program knows.
        supported: u32,
    },

    /// The schema file doesn't hold exactly a number.
    #[error(
        "'{}' is corrupt: it must hold the store's schema version and nothing else, for a store of Nix 2.0 or later '10' without a newline",
        .path.display()
    )]
    CorruptSchema {
        /// The schema file.
        path: PathBuf,
    },

    /// The schema file is there, but not the database.
    #[error(
        "database '{}' is missing although there is a schema file: restore it from a backup",
        .path.display()
    )]
    MissingDatabase {
        /// The database.
        path: PathBuf,
    },

    /// The schema file is right, but the database lacks a table.
    #[error(
        "database '{}' has no table '{table}' although its schema version is {schema}: restore it from a backup",
        .path.display()
    )]
    MissingTable {
        /// The database.
        path: PathBuf,
        /// The first table that is missing.
        table: &'static str,
        /// The version in the schema file.
        schema: u32,
    },

    /// A file of this program's own was made by a newer release.
    #[error(
        "'{}' has version {found}, which a newer release has made: use that, or remove the file",
        .path.display()
    )]
    NewerFile {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },

    /// SQLite found the database damaged.
    #[error("database '{}' is damaged: restore it from a backup", .path.display())]
    CorruptDatabase {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: BoxedCause,
    },

    /// A row of the database can't be understood.
    #[error("database '{}' has a bad value in column '{column}' of path '{row}'", .path.display())]
    CorruptRow {
        /// The database.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The path that the row is about, as stored.
        row: String,
        /// What is wrong with the value.
        #[source]
        source: BoxedCause,
    },

    /// A path is recorded as referring to one that isn't there.
    #[error("database '{}' has a reference to row {id}, which is missing", .path.display())]
    DanglingReference {
        /// The database.
        path: PathBuf,
        /// The number of the missing row.
        id: i64,
    },

    /// Another process kept the database locked for longer than was to be waited.
    #[error("database '{}' is busy for more than {} s{}", .path.display(), .waited_secs, held_by(.holder))]
    DatabaseBusy {
        /// The database.
        path: PathBuf,
        /// How long it was waited for, in seconds.
        waited_secs: u64,
        /// The process that holds the lock, if the kernel tells.
        holder: Option<LockHolder>,
    },

    /// A database that can't be written still has changes to be applied.
    #[error(
        "database '{}' can't be read without writing to it: its log has changes that were never applied; open the store once with write permission",
        .path.display()
    )]
    UnappliedLog {
        /// The database.
        path: PathBuf,
    },

    /// There is no room for what was to be written to the database.
    #[error("cannot {action} database '{}': no room is left", .path.display())]
    DatabaseFull {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: BoxedCause,
    },

    /// A database operation failed.
    #[error("cannot {action} database '{}'", .path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: BoxedCause,
    },

    /// A write to a store that is open for reading, or lies on a read-only file system.
    #[error("cannot {action}: the store in '{}' is read-only", .path.display())]
    ReadOnly {
        /// What was tried.
        action: &'static str,
        /// The state or store directory.
        path: PathBuf,
    },

    /// The store directory or a parent is a symlink.
    #[error(
        "the path '{}' is a symlink; this is not allowed for the Nix store and its parent directories",
        .path.display()
    )]
    SymlinkedStore {
        /// The symlink.
        path: PathBuf,
    },

    /// A directory or file of the state can be changed by anyone, or isn't what it must be.
    #[error("'{}' {problem}", .path.display())]
    Insecure {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: &'static str,
    },

    /// The program runs with the rights of somebody other than who started it.
    #[error(
        "real and effective ids differ (user {real_uid} and {effective_uid}, group {real_gid} and {effective_gid}): this program isn't made for set-user-ID use"
    )]
    SetUserId {
        /// Real user id.
        real_uid: u32,
        /// Effective user id.
        effective_uid: u32,
        /// Real group id.
        real_gid: u32,
        /// Effective group id.
        effective_gid: u32,
    },

    /// A lock or a temporary root couldn't be had.
    #[error("cannot {action}")]
    Lock {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: crate::lock::LockError,
    },

    /// The archive of a path couldn't be read or written.
    #[error("cannot {action} the archive of path '{path}'")]
    Nar {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: Box<FullPath>,
        /// Why it failed.
        #[source]
        source: nix_nar::Error,
    },

    /// A content address gives no path for this name and these references.
    #[error("cannot compute the store path of '{name}'")]
    NoPath {
        /// The name.
        name: nix_base::StorePathName,
        /// Why not.
        #[source]
        source: nix_base::store_path::make::MakePathError,
    },

    /// An archive whose path isn't known yet couldn't be read.
    #[error("cannot {action} an archive")]
    Archive {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: nix_nar::Error,
    },

    /// A tree on disk couldn't be removed.
    #[error("cannot {action} '{}'", .path.display())]
    Tree {
        /// What was tried.
        action: &'static str,
        /// The root of the tree.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: nix_nar::Error,
    },

    /// An object can't be made as those of a store are.
    #[error("cannot make the metadata of a path canonical")]
    Canonicalise {
        /// Why not.
        #[source]
        source: CanonicaliseError,
    },

    /// Only the bytes of a file can be hashed without an archive.
    #[error("'{}' is not a regular file", .path.display())]
    NotARegularFile {
        /// What was to be added.
        path: PathBuf,
    },

    /// The content isn't what its content address says.
    // Nix compat: clients know `ca hash mismatch importing path`.
    #[error("ca hash mismatch importing path '{path}': its content is not '{ca}'")]
    ContentMismatch {
        /// The path.
        path: Box<FullPath>,
        /// What it claims.
        ca: Box<ContentAddress>,
    },

    /// A `.drv` file isn't a derivation, or states what doesn't follow from it. The text is
    /// real Nix's, and names the file.
    #[error(transparent)]
    WrongDerivation(nix_drv::Error),

    /// The same where the cause doesn't name the file.
    #[error("cannot register derivation '{path}'")]
    Derivation {
        /// The path of the `.drv` file.
        path: Box<FullPath>,
        /// What is wrong, in real Nix's words.
        #[source]
        source: nix_drv::Error,
    },

    /// The path of a derivation holds a directory or a symlink.
    #[error("'{}' is not a regular file, as a derivation has to be", .path.display())]
    NotADerivationFile {
        /// Where it lies.
        path: PathBuf,
    },

    /// The operating system refused an operation.
    #[error("cannot {action} '{}'", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// A store path with its directory, as it is printed in messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FullPath {
    store_dir: StoreDir,
    path: StorePath,
}

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id.
    pub pid: u32,
    /// The name of its program, when that could be read.
    pub program: Option<String>,
}

impl Error {
    /// Whether a path was asked for that isn't registered.
    pub fn is_not_valid(&self) -> bool {
        matches!(self, Self::NotValid(_))
    }

    /// Whether another process kept the database locked for too long.
    pub fn is_database_busy(&self) -> bool {
        matches!(self, Self::DatabaseBusy { .. })
    }

    /// Whether something was to be written to a store that can only be read.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly { .. })
            || self.has_io_cause(&[io::ErrorKind::ReadOnlyFilesystem])
    }

    /// Whether the rights to the store's files don't suffice, or these can only be read.
    pub fn is_forbidden(&self) -> bool {
        self.is_read_only() || self.has_io_cause(&[io::ErrorKind::PermissionDenied])
    }

    /// Whether the file system has no room left, or the user's share of it is used up.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DatabaseFull { .. })
            || self.has_io_cause(&[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded])
    }

    /// Whether the failure lies in what was to be added, rather than in the store, the disk
    /// or the database: other objects may still be added.
    pub fn is_about_an_object(&self) -> bool {
        matches!(
            self,
            Self::NotValid(_)
                | Self::ReferenceCycle { .. }
                | Self::WrongContentAddress { .. }
                | Self::TooLarge { .. }
                | Self::Derivation { .. }
                | Self::NotADerivationFile { .. }
                | Self::WrongDerivation(_)
        )
    }

    /// Whether there is no store yet.
    pub fn is_no_store(&self) -> bool {
        matches!(self, Self::NoStore { .. })
    }

    /// Whether the database is of a release that this program doesn't know.
    pub fn is_unsupported_schema(&self) -> bool {
        matches!(self, Self::UnsupportedSchema { .. })
    }

    /// Whether a path is kept since others refer to it.
    pub fn is_path_in_use(&self) -> bool {
        matches!(self, Self::PathInUse { .. })
    }

    /// Whether the content differs from what was announced.
    pub fn is_hash_mismatch(&self) -> bool {
        matches!(self, Self::HashMismatch { .. } | Self::SizeMismatch { .. })
    }

    /// The error for a path that isn't registered.
    pub fn not_valid(store_dir: &StoreDir, path: &StorePath) -> Self {
        Self::NotValid(Box::new(FullPath::new(store_dir, path)))
    }

    fn has_io_cause(&self, kinds: &[io::ErrorKind]) -> bool {
        std::iter::successors(self.source(), |&error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| kinds.contains(&error.kind()))
    }

    /// Names the operation and the file of an I/O failure.
    pub fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Names the operation of a failure to lock.
    pub fn lock(action: &'static str, source: crate::lock::LockError) -> Self {
        Self::Lock { action, source }
    }
}

impl FullPath {
    /// Joins a path with its directory.
    pub fn new(store_dir: &StoreDir, path: &StorePath) -> Self {
        Self {
            store_dir: store_dir.clone(),
            path: path.clone(),
        }
    }

    /// The path alone.
    pub fn path(&self) -> &StorePath {
        &self.path
    }
}

impl std::fmt::Display for FullPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.store_dir.display(&self.path))
    }
}

fn quoted_list(paths: &[FullPath]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("'{path}'")).collect();
    quoted.join(", ")
}

fn held_by(holder: &Option<LockHolder>) -> String {
    match holder {
        None => String::new(),
        Some(LockHolder { pid, program: None }) => format!(": process {pid} holds it"),
        Some(LockHolder {
            pid,
            program: Some(program),
        }) => format!(": process {pid} ('{program}') holds it"),
    }
}

fn schema_advice(found: u32, supported: u32) -> &'static str {
    if found > supported {
        "use a newer release of this program"
    } else {
        "let Nix 2.3 or later open the store once, which upgrades it"
    }
}
