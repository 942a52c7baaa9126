//! The database's own consistency.

use super::Db;
use super::busy::Explain;
use super::scan::READ;
use crate::error::Result;
use crate::local::VerifyProblem;

impl Db {
    /// Appends what SQLite finds wrong with the file and with the links between rows.
    pub(crate) fn check_integrity(&self, problems: &mut Vec<VerifyProblem>) -> Result<()> {
        self.read_transaction(|conn| {
            conn.pragma_query(None, "integrity_check", |row| {
                let message: String = row.get(0)?;
                if message != "ok" {
                    problems.push(VerifyProblem::Database { message });
                }
                Ok(())
            })
            .explain(self, READ)?;
            conn.pragma_query(None, "foreign_key_check", |row| {
                problems.push(VerifyProblem::DanglingRow {
                    table: row.get(0)?,
                    row: row.get(1)?,
                });
                Ok(())
            })
            .explain(self, READ)
        })
    }
}
