//! What is remembered of clients that nobody trusts: the texts that they have shown, the
//! paths that they may see, and what they have used up.
//!
//! It lies in `STATE/nix-serve/trust.sqlite`, beside the store's database, of which real
//! Nix knows every table. Only the store's owner can read it. Losing it harms nobody:
//! texts are sent again, and paths have to be brought or built again to be seen.
//!
//! Nothing in it is a fact about the store: a text is only ever looked up by its hash, and
//! a path may be seen only in the registration in which it was granted, so that one which
//! was collected and made valid again by somebody else is out of sight.

mod open;
mod texts;
mod usage;
mod views;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use crate::db::BusyWait;
use crate::error::Result;

pub use texts::{TEXT_BYTES_PER_KEY, TextHash};
pub use usage::Usage;
pub use views::Charge;

/// A connection to the memory of untrusted clients.
///
/// Not `Sync`: each thread opens its own. Don't use it in a child after `fork`.
pub struct TrustDb {
    conn: Connection,
    file: PathBuf,
    busy: BusyWait,
}

impl TrustDb {
    /// The database file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Runs `body` in a transaction that has the right to write from its start.
    fn write<T>(
        &self,
        action: &'static str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let transaction = self.busy.retry(action, || {
            rusqlite::Transaction::new_unchecked(
                &self.conn,
                rusqlite::TransactionBehavior::Immediate,
            )
        })?;
        let value = body(&transaction).map_err(|error| self.busy.explain(action, error))?;
        transaction
            .commit()
            .map_err(|error| self.busy.explain(action, error))?;
        Ok(value)
    }

    /// Runs `body` on one unchanging state.
    fn read<T>(&self, body: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let transaction = self.busy.retry(READ, || {
            rusqlite::Transaction::new_unchecked(
                &self.conn,
                rusqlite::TransactionBehavior::Deferred,
            )
        })?;
        body(&transaction).map_err(|error| self.busy.explain(READ, error))
    }
}

impl std::fmt::Debug for TrustDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustDb")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The number of a key, if anything is known of it.
fn find_key(conn: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(FIND_KEY)?
        .query_row(params![key], |row| row.get(0))
        .optional()
}

/// The number of a key, which gets one if it has none.
fn key_id(conn: &Connection, key: &str) -> rusqlite::Result<i64> {
    conn.prepare_cached(ADD_KEY)?.execute(params![key])?;
    conn.prepare_cached(FIND_KEY)?
        .query_row(params![key], |row| row.get(0))
}

/// A number of bytes as the database has it.
fn to_column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number that is never negative.
fn from_column(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

const READ: &str = "read";
const FIND_KEY: &str = "select id from Keys where name = ?1";
const ADD_KEY: &str = "insert or ignore into Keys (name) values (?1)";

#[cfg(test)]
mod tests;
