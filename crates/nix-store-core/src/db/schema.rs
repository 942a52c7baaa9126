//! The tables of schema 10, and the check that a database has them.

use rusqlite::Connection;

use super::Db;
use crate::error::{Error, Result};

/// The schema that this program reads and writes, that of Nix since 2.0.
pub const SCHEMA_VERSION: u32 = 10;

impl Db {
    /// Makes whatever table, index or trigger is missing, in one transaction.
    pub(crate) fn create_tables(&self) -> Result<()> {
        self.write_transaction("create the tables of", |conn| {
            conn.execute_batch(CREATE_TABLES)
                .map_err(|error| self.busy.explain("create the tables of", error))
        })
    }

    /// Checks that every table is there that the schema file promises.
    pub(crate) fn check_tables(&self) -> Result<()> {
        for table in TABLES {
            let found = self
                .busy
                .retry("read", || table_exists(&self.conn, table))?;
            if !found {
                return Err(Error::MissingTable {
                    path: self.file.clone(),
                    table,
                    schema: SCHEMA_VERSION,
                });
            }
        }
        Ok(())
    }
}

pub(super) fn table_exists(conn: &Connection, table: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(FIND_TABLE)?.exists([table])
}

const TABLES: [&str; 3] = ["ValidPaths", "Refs", "DerivationOutputs"];
const CREATE_TABLES: &str = include_str!("../schema.sql");
const FIND_TABLE: &str = "select 1 from sqlite_schema where type = 'table' and name = ?1";
