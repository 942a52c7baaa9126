//! Telling one registration of a path from a later one.

use nix_base::{StorePath, StorePathSet};

use super::Db;
use super::busy::Explain;
use super::scan::READ;
use crate::error::Result;

/// A registration of a path. A path that became invalid and valid again has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registered {
    /// A number that the database never gives twice.
    pub(crate) id: i64,
    /// The size of the archive in bytes.
    pub(crate) nar_size: i64,
}

impl Db {
    /// Calls `each` for those of `paths` that are valid, in order, all at one state of the
    /// database.
    pub(crate) fn registrations<'p>(
        &self,
        paths: &'p StorePathSet,
        mut each: impl FnMut(&'p StorePath, Registered),
    ) -> Result<()> {
        self.read_transaction(|conn| {
            let mut statement = self.prepare(conn, REGISTRATIONS_FROM)?;
            self.for_each_valid(&mut statement, paths.iter(), |path, row| {
                let id = row.get(1).explain(self, READ)?;
                let nar_size: Option<i64> = row.get(2).explain(self, READ)?;
                let nar_size = nar_size.unwrap_or(0).max(0);
                each(path, Registered { id, nar_size });
                Ok(())
            })
        })
    }
}

const REGISTRATIONS_FROM: &str =
    "select path, id, narSize from ValidPaths where path >= ?1 order by path";
