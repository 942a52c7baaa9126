//! Making many paths invalid at once, for collectors.

use super::Db;
use super::busy::Explain;
use super::connect::Durability;
use crate::error::Result;

impl Db {
    /// Makes the paths of these rows invalid, one after the other, except those that a valid
    /// path still refers to, until `goes_on` says no; tells of each that had its turn
    /// whether it is invalid now. The first has its turn in any case.
    ///
    /// A row that isn't there counts as invalid: no other path ever gets its number.
    pub(crate) fn invalidate_rows(
        &self,
        ids: &[i64],
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Vec<bool>> {
        self.write_transaction(INVALIDATE, |conn| {
            let prepare = |sql| conn.prepare_cached(sql).explain(self, INVALIDATE);
            let mut referrer = prepare(OTHER_REFERRER)?;
            let mut references = prepare(DELETE_REFERENCES)?;
            let mut delete = prepare(DELETE_ROW)?;
            let mut gone = Vec::with_capacity(ids.len());
            for id in ids {
                if !gone.is_empty() && !goes_on() {
                    break;
                }
                let in_use = referrer.exists([id]).explain(self, INVALIDATE)?;
                if !in_use {
                    // They would go with the row, but less is set aside for an undoing of
                    // that when there are none.
                    references.execute([id]).explain(self, INVALIDATE)?;
                    delete.execute([id]).explain(self, INVALIDATE)?;
                }
                gone.push(!in_use);
            }
            Ok(gone)
        })
    }

    /// Has each transaction on stable storage before it counts as committed, unless nothing
    /// is to be flushed at all: what makes a path invalid must not be lost when its files
    /// are. [`Self::end_strict_commits`] ends that.
    pub(crate) fn begin_strict_commits(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::None | Durability::Full => Ok(()),
            Durability::Ordered => self
                .conn
                .pragma_update(None, "synchronous", "full")
                .explain(self, INVALIDATE),
        }
    }

    /// Goes back to what the store was opened with.
    pub(crate) fn end_strict_commits(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::None | Durability::Full => Ok(()),
            Durability::Ordered => self
                .conn
                .pragma_update(None, "synchronous", "normal")
                .explain(self, INVALIDATE),
        }
    }
}

const INVALIDATE: &str = "remove paths from";
const OTHER_REFERRER: &str = "select 1 from Refs where reference = ?1 and referrer <> ?1 limit 1";
const DELETE_REFERENCES: &str = "delete from Refs where referrer = ?1";
const DELETE_ROW: &str = "delete from ValidPaths where id = ?1";
