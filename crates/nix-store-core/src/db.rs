//! The database of valid paths: schema 10, shared with running Nix processes.
//!
//! All SQL on it is in this module and in `schema.sql`; every query is a named constant. The
//! format is described in `docs/formats/store-db.md`.
//!
//! Writes are `begin immediate` transactions, so two writers queue up instead of failing
//! half-way. Reads that need several statements run in one read transaction, which ends
//! before any caller's code runs: a transaction that stays open keeps the write-ahead log
//! from being applied.

mod bulk;
mod busy;
mod check;
mod closure;
mod connect;
mod dump;
mod graph;
mod places;
mod read;
mod realisations;
mod register;
mod registered;
mod scan;
mod schema;
mod unregister;
mod write;

use std::path::{Path, PathBuf};

use nix_base::StoreDir;
use rusqlite::Connection;

pub(crate) use busy::BusyWait;
pub(crate) use connect::DbOptions;
pub use connect::{Durability, JournalMode, OpenMode};
pub use dump::{RegistrationText, Registrations};
pub use graph::StoreGraph;
pub use register::Registration;
pub(crate) use registered::Registered;
pub use schema::SCHEMA_VERSION;

/// A connection to the database of a store.
///
/// Not `Sync`: each thread opens its own. Don't use it in a child after `fork`.
pub struct Db {
    conn: Connection,
    store_dir: StoreDir,
    file: PathBuf,
    busy: busy::BusyWait,
    read_only: bool,
}

/// Whether a closure follows derivations to their outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeOutputs {
    /// References only.
    #[default]
    No,
    /// The valid outputs of each derivation in the closure as well.
    Yes,
}

impl Db {
    /// The database file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db")
            .field("file", &self.file)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
