//! What a key has used up.

use rusqlite::{OptionalExtension, params};

use super::{TrustDb, from_column, key_id, to_column};
use crate::error::Result;

/// What a key has used up of its quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Archive sizes of the paths that it brought or built, those that are gone included
    /// until [`TrustDb::release_gone`]; and the texts that are kept for it.
    pub stored_bytes: u64,
    /// Seconds that its builds took.
    pub build_seconds: u64,
}

impl TrustDb {
    /// What `key` has used up.
    ///
    /// # Errors
    /// Those of the database.
    pub fn usage(&self, key: &str) -> Result<Usage> {
        let row = self.read(|conn| {
            conn.prepare_cached(USAGE)?
                .query_row(params![key], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })?;
        let (stored_bytes, build_seconds) = row.unwrap_or_default();
        Ok(Usage {
            stored_bytes: from_column(stored_bytes),
            build_seconds: from_column(build_seconds),
        })
    }

    /// All keys of which something is known.
    ///
    /// # Errors
    /// Those of the database.
    pub fn keys(&self) -> Result<Vec<String>> {
        self.read(|conn| {
            let mut keys = conn.prepare_cached(KEYS)?;
            keys.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Adds to what `key` has used up; paths and texts add themselves.
    ///
    /// # Errors
    /// Those of the database.
    pub fn add_usage(&self, key: &str, more: Usage) -> Result<()> {
        self.write("add to the usage in", |conn| {
            let key = key_id(conn, key)?;
            let (bytes, seconds) = (to_column(more.stored_bytes), to_column(more.build_seconds));
            conn.prepare_cached(ADD)?
                .execute(params![key, bytes, seconds])
                .map(drop)
        })
    }

    /// Sets the build time of `key` to nothing, as at the start of a new accounting period.
    ///
    /// # Errors
    /// Those of the database.
    pub fn reset_build_seconds(&self, key: &str) -> Result<()> {
        self.write("reset the usage in", |conn| {
            conn.prepare_cached(RESET)?.execute(params![key]).map(drop)
        })
    }
}

const KEYS: &str = "select name from Keys order by name";
const USAGE: &str = "select storedBytes + textBytes, buildSeconds from Keys where name = ?1";
// Beyond what the column can hold, a sum would become a fraction.
const ADD: &str = "update Keys set \
     storedBytes = storedBytes + min(?2, 9223372036854775807 - storedBytes), \
     buildSeconds = buildSeconds + min(?3, 9223372036854775807 - buildSeconds) where id = ?1";
const RESET: &str = "update Keys set buildSeconds = 0 where name = ?1";
