//! Making many paths invalid at once, for collectors.

use super::Db;
use super::busy::Explain;
use super::connect::Durability;
use crate::error::Result;

impl Db {
    /// Makes the paths of these rows invalid, one after the other, except those that a valid
    /// path still refers to; tells which of them are invalid now.
    ///
    /// A row that isn't there counts as invalid: no other path ever gets its number.
    pub(crate) fn invalidate_rows(&self, ids: &[i64]) -> Result<Vec<bool>> {
        self.write_transaction(INVALIDATE, |conn| {
            let mut referrer = conn
                .prepare_cached(OTHER_REFERRER)
                .explain(self, INVALIDATE)?;
            let mut delete = conn.prepare_cached(DELETE_ROW).explain(self, INVALIDATE)?;
            let mut gone = Vec::with_capacity(ids.len());
            for id in ids {
                let in_use = referrer.exists([id]).explain(self, INVALIDATE)?;
                if !in_use {
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
const DELETE_ROW: &str = "delete from ValidPaths where id = ?1";
