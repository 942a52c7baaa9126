//! Closures, computed on the numbers of the rows.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use nix_base::StorePathSet;
use rusqlite::Connection;

use super::busy::Explain;
use super::read::{PATH_OF_ID, PATHS_FROM, REFERENCE_IDS_OF_ID};
use super::scan::READ;
use super::{Db, IncludeOutputs};
use crate::error::{Error, Result};

impl Db {
    /// `roots` and everything they refer to, directly or not.
    ///
    /// # Errors
    /// One of `roots` isn't valid.
    pub fn closure(
        &self,
        roots: &StorePathSet,
        include_outputs: IncludeOutputs,
    ) -> Result<StorePathSet> {
        let mut paths = Vec::new();
        self.read_transaction(|conn| {
            let mut ids = self.root_ids(conn, roots)?;
            let mut seen: IdSet = ids.iter().copied().collect();
            self.follow(
                conn,
                REFERENCE_IDS_OF_ID,
                include_outputs,
                &mut ids,
                &mut seen,
            )?;
            ids.sort_unstable();
            let mut statement = self.prepare(conn, PATH_OF_ID)?;
            paths.reserve_exact(ids.len());
            for id in ids {
                paths.push(self.find_path(&mut statement, id)?);
            }
            Ok(())
        })?;
        Ok(paths.into_iter().collect())
    }

    fn root_ids(&self, conn: &Connection, roots: &StorePathSet) -> Result<Vec<i64>> {
        let mut ids = Vec::new();
        let mut expected = roots.iter();
        let mut missing = None;
        let mut statement = self.prepare(conn, PATHS_FROM)?;
        self.for_each_valid(&mut statement, roots.iter(), |path, row| {
            ids.push(self.integer(row, 1)?);
            missing = missing.or(expected.next().filter(|wanted| *wanted != path));
            Ok(())
        })?;
        match missing.or_else(|| expected.next()) {
            Some(path) => Err(Error::not_valid(&self.store_dir, path)),
            None => Ok(ids),
        }
    }

    /// Appends to `ids` everything that is reached from them by `edges`.
    fn follow(
        &self,
        conn: &Connection,
        edges: &str,
        include_outputs: IncludeOutputs,
        ids: &mut Vec<i64>,
        seen: &mut IdSet,
    ) -> Result<()> {
        let mut edges = self.prepare(conn, edges)?;
        let mut outputs = self.prepare(conn, VALID_OUTPUT_IDS_OF_ID)?;
        let mut next = 0;
        while let Some(&id) = ids.get(next) {
            next += 1;
            for statement in match include_outputs {
                IncludeOutputs::No => [Some(&mut edges), None],
                IncludeOutputs::Yes => [Some(&mut edges), Some(&mut outputs)],
            }
            .into_iter()
            .flatten()
            {
                let mut rows = statement.query([id]).explain(self, READ)?;
                while let Some(row) = self.next(&mut rows)? {
                    let found = self.integer(row, 0)?;
                    if seen.insert(found) {
                        ids.push(found);
                    }
                }
            }
        }
        Ok(())
    }
}

type IdSet = HashSet<i64, BuildHasherDefault<IdHasher>>;

/// Spreads row numbers, which nobody chooses to collide.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_i64(&mut self, id: i64) {
        self.write_u64(id.cast_unsigned());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

const VALID_OUTPUT_IDS_OF_ID: &str = "select v.id from DerivationOutputs d \
     join ValidPaths v on v.path = d.path where d.drv = ?1";
