//! Realisations: which path an output of a derivation came out as.
//!
//! A store has the tables only once something was stored in them. Keys are
//! `sha256:<base16>` of the derivation's masked hash, and the name of the output.

use std::collections::BTreeSet;

use nix_base::{DrvOutput, HashFormat, Realisation, Signature, StorePath};
use rusqlite::{Connection, OptionalExtension, params};

use super::Db;
use super::busy::Explain;
use super::register::Registration;
use super::scan::READ;
use super::schema::table_exists;
use super::write::joined;
use crate::error::Result;

impl Db {
    /// Stores `realisations`, all or none. Of one that is there already, path and
    /// signatures are replaced.
    ///
    /// # Errors
    /// A path isn't valid; those of the database.
    pub fn register_realisations(&self, realisations: &[Realisation]) -> Result<()> {
        self.register_with_realisations(&[], realisations)
    }

    /// [`Self::register`] and [`Self::register_realisations`] in one transaction.
    ///
    /// # Errors
    /// As there.
    pub fn register_with_realisations(
        &self,
        batch: &[Registration],
        realisations: &[Realisation],
    ) -> Result<()> {
        self.register_and(batch, |conn| {
            if realisations.is_empty() {
                return Ok(());
            }
            if !table_exists(conn, TABLE).explain(self, STORE)? {
                conn.execute_batch(CREATE_TABLES).explain(self, STORE)?;
            }
            realisations
                .iter()
                .try_for_each(|realisation| self.write_realisation(conn, realisation))
        })
    }

    fn write_realisation(&self, conn: &Connection, realisation: &Realisation) -> Result<()> {
        let (drv, output) = key(&realisation.id);
        let path = self.require_id(conn, &realisation.out_path)?;
        // Nix compat: no signatures are an empty text here, not NULL.
        let signatures = joined(&realisation.signatures).unwrap_or_default();
        let known = find(conn, &drv, output).explain(self, STORE)?;
        let id = match known {
            Some(id) => {
                conn.prepare_cached(UPDATE)
                    .and_then(|mut update| update.execute(params![id, path, signatures]))
                    .explain(self, STORE)?;
                id
            }
            None => {
                conn.prepare_cached(INSERT)
                    .and_then(|mut insert| insert.execute(params![drv, output, path, signatures]))
                    .explain(self, STORE)?;
                conn.last_insert_rowid()
            }
        };
        for dependency in realisation.dependent_realisations.keys() {
            let (drv, output) = key(dependency);
            if let Some(dependency) = find(conn, &drv, output).explain(self, STORE)? {
                conn.prepare_cached(INSERT_REFERENCE)
                    .and_then(|mut insert| insert.execute([id, dependency]))
                    .explain(self, STORE)?;
            }
        }
        Ok(())
    }

    /// The path of an output and the signatures over it, if it was built or copied here and
    /// the path is still valid.
    ///
    /// # Errors
    /// Those of the database.
    pub fn query_realisation(
        &self,
        id: &DrvOutput,
    ) -> Result<Option<(StorePath, BTreeSet<Signature>)>> {
        let (drv, output) = key(id);
        self.read_transaction(|conn| {
            if !table_exists(conn, TABLE).explain(self, READ)? {
                return Ok(None);
            }
            let mut select = self.prepare(conn, SELECT)?;
            let mut rows = select.query([&*drv, output]).explain(self, READ)?;
            let Some(row) = self.next(&mut rows)? else {
                return Ok(None);
            };
            let path = self.path(row, 0)?;
            let text = String::from_utf8_lossy(self.text(row, 1)?);
            // What isn't printable can't be a signature; it proves nothing and is left out.
            let signatures = text
                .split(' ')
                .filter_map(|text| Signature::verbatim(text).ok())
                .collect();
            Ok(Some((path, signatures)))
        })
    }
}

fn key(id: &DrvOutput) -> (String, &str) {
    let drv = id.drv_hash.render_prefixed(HashFormat::Base16);
    (drv, id.output.as_str())
}

fn find(conn: &Connection, drv: &str, output: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(FIND)?
        .query_row([drv, output], |row| row.get(0))
        .optional()
}

const STORE: &str = "store realisations in";
const TABLE: &str = "Realisations";

const CREATE_TABLES: &str = include_str!("../realisations.sql");
const FIND: &str = "select id from Realisations where drvPath = ?1 and outputName = ?2";
const SELECT: &str = "select v.path, r.signatures from Realisations r \
     join ValidPaths v on v.id = r.outputPath where r.drvPath = ?1 and r.outputName = ?2";
const UPDATE: &str = "update Realisations set outputPath = ?2, signatures = ?3 where id = ?1";
const INSERT: &str = "insert into Realisations (drvPath, outputName, outputPath, signatures) \
     values (?1, ?2, ?3, ?4)";
const INSERT_REFERENCE: &str =
    "insert into RealisationsRefs (referrer, realisationReference) values (?1, ?2)";
