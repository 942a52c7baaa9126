//! Where a store keeps its files.

use std::path::{Path, PathBuf};

use nix_base::{StoreDir, StorePath};

/// The directories of one store, and the names of the files in them.
///
/// The *logical* store directory is part of every path, hash and database row; the *real*
/// one is where the objects lie. They differ in a chroot store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLayout {
    /// Logical store directory.
    pub store_dir: StoreDir,
    /// Directory that holds the objects.
    pub real_store: PathBuf,
    /// State directory: database, temporary roots, collector lock, roots.
    pub state: PathBuf,
    /// Directory of the build logs.
    pub log: PathBuf,
}

impl StoreLayout {
    /// A store whose objects lie at its logical directory.
    pub fn new(store_dir: StoreDir, state: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let real_store = PathBuf::from(store_dir.to_string());
        Self {
            store_dir,
            real_store,
            state: state.into(),
            log: log.into(),
        }
    }

    /// A chroot store (`local?root=ROOT`): everything lies below `root`, while the logical
    /// directory stays `store_dir`.
    pub fn chroot(store_dir: StoreDir, root: &Path) -> Self {
        // Nix compat: the physical directories don't depend on the logical one.
        Self {
            store_dir,
            real_store: root.join("nix/store"),
            state: root.join("nix/var/nix"),
            log: root.join("nix/var/log/nix"),
        }
    }

    /// Where the object of `path` lies.
    pub fn real_path(&self, path: &StorePath) -> PathBuf {
        self.real_store.join(path.to_string())
    }

    /// The lock file beside the object of `path`.
    pub fn path_lock(&self, path: &StorePath) -> PathBuf {
        self.real_store.join(format!("{path}.lock"))
    }

    /// The directory of deduplicated files.
    pub fn links_dir(&self) -> PathBuf {
        self.real_store.join(".links")
    }

    /// The directory of the database.
    pub fn db_dir(&self) -> PathBuf {
        self.state.join("db")
    }

    /// The database itself.
    pub fn db_file(&self) -> PathBuf {
        self.state.join("db/db.sqlite")
    }

    /// The file with the number of the database's schema.
    pub fn schema_file(&self) -> PathBuf {
        self.state.join("db/schema")
    }

    /// The lock held shared while a store is open, exclusive during schema upgrades.
    pub fn big_lock(&self) -> PathBuf {
        self.state.join("db/big-lock")
    }

    /// The ballast file that a collector gives up on a full disk.
    pub fn reserved_file(&self) -> PathBuf {
        self.state.join("db/reserved")
    }

    /// The directory of temporary-root files.
    pub fn temp_roots_dir(&self) -> PathBuf {
        self.state.join("temproots")
    }

    /// The lock that a running collector holds.
    pub fn gc_lock(&self) -> PathBuf {
        self.state.join("gc.lock")
    }

    /// The directory of the collector's socket.
    pub fn gc_socket_dir(&self) -> PathBuf {
        self.state.join("gc-socket")
    }

    /// The socket on which a running collector takes new roots.
    pub fn gc_socket(&self) -> PathBuf {
        self.state.join("gc-socket/socket")
    }

    /// The directory of permanent roots.
    pub fn gc_roots_dir(&self) -> PathBuf {
        self.state.join("gcroots")
    }

    /// The directory of profiles.
    pub fn profiles_dir(&self) -> PathBuf {
        self.state.join("profiles")
    }
}

impl Default for StoreLayout {
    fn default() -> Self {
        Self::new(StoreDir::default(), "/nix/var/nix", "/nix/var/log/nix")
    }
}
