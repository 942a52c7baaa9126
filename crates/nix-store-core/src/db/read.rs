//! Questions to the database.

use std::collections::{BTreeSet, HashMap};

use nix_base::{
    NarHash, OutputName, Signature, StorePath, StorePathHash, StorePathSet, UnkeyedValidPathInfo,
    ValidPathInfo,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::Db;
use super::busy::Explain;
use super::scan::READ;
use crate::error::{Error, Result};

impl Db {
    /// Whether `path` is valid.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool> {
        Ok(self.find_id(&self.conn, path)?.is_some())
    }

    /// The metadata of `path`, or `None` if it isn't valid.
    pub fn query_path_info(&self, path: &StorePath) -> Result<Option<ValidPathInfo>> {
        let mut found = None;
        self.read_infos(&[path], &mut PathsById::default(), |info| {
            found = Some(info);
        })?;
        Ok(found)
    }

    /// Those of `paths` that are valid.
    pub fn query_valid(&self, paths: &StorePathSet) -> Result<StorePathSet> {
        let mut valid = Vec::new();
        self.read_transaction(|conn| {
            let mut statement = self.prepare(conn, PATHS_FROM)?;
            self.for_each_valid(&mut statement, paths.iter(), |path, _| {
                valid.push(path.clone());
                Ok(())
            })
        })?;
        Ok(valid.into_iter().collect())
    }

    /// Calls `each` with the metadata of those of `paths` that are valid, in order.
    ///
    /// No transaction is open during the calls, so they may take as long as they like;
    /// paths that become valid or invalid meanwhile may or may not be seen.
    ///
    /// # Errors
    /// Those of the database, and the first one of `each`.
    pub fn query_infos(
        &self,
        paths: &StorePathSet,
        each: impl FnMut(ValidPathInfo) -> Result<()>,
    ) -> Result<()> {
        match self.read_many(paths)? {
            Some(bulk) => self.hand_out(bulk, each),
            None => self.query_infos_in_batches(paths, each),
        }
    }

    /// [`Self::query_infos`] by a look-up for each path and each reference.
    pub(super) fn query_infos_in_batches(
        &self,
        paths: &StorePathSet,
        mut each: impl FnMut(ValidPathInfo) -> Result<()>,
    ) -> Result<()> {
        let mut by_id = self.load_paths_by_id(paths.len())?;
        let mut wanted = paths.iter();
        let mut infos = Vec::new();
        loop {
            let batch: Vec<&StorePath> = wanted.by_ref().take(INFO_BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.read_infos(&batch, &mut by_id, |info| infos.push(info))?;
            infos.drain(..).try_for_each(&mut each)?;
        }
    }

    /// What `path` refers to, itself included if it does.
    ///
    /// # Errors
    /// `path` isn't valid.
    pub fn query_references(&self, path: &StorePath) -> Result<StorePathSet> {
        self.read_transaction(|conn| {
            let id = self.require_id(conn, path)?;
            self.paths_of(conn, REFERENCES_OF_ID, params![id])
        })
    }

    /// The valid paths that refer to `path`, itself included if it does; none if it isn't
    /// valid.
    pub fn query_referrers(&self, path: &StorePath) -> Result<StorePathSet> {
        self.referrers_within(&self.conn, path)
    }

    /// The valid derivations that have `path` as an output.
    pub fn query_valid_derivers(&self, path: &StorePath) -> Result<StorePathSet> {
        let path = self.store_dir.print(path);
        self.paths_of(&self.conn, DERIVERS_OF, params![path])
    }

    /// The outputs recorded for the derivation `path`, in the order of their names; they
    /// need not be valid.
    ///
    /// # Errors
    /// `path` isn't valid.
    pub fn query_derivation_outputs(
        &self,
        path: &StorePath,
    ) -> Result<Vec<(OutputName, StorePath)>> {
        self.read_transaction(|conn| {
            let id = self.require_id(conn, path)?;
            let mut statement = self.prepare(conn, OUTPUTS_OF_ID)?;
            let mut rows = statement.query([id]).explain(self, READ)?;
            let mut outputs = Vec::new();
            while let Some(row) = self.next(&mut rows)? {
                let name: String = row.get(0).explain(self, READ)?;
                let name = OutputName::new(&name)
                    .map_err(|e| self.corrupt("id", self.store_dir.print(path), e))?;
                outputs.push((name, self.path(row, 1)?));
            }
            Ok(outputs)
        })
    }

    /// The valid path whose base name starts with `hash`.
    pub fn query_path_from_hash_part(&self, hash: &StorePathHash) -> Result<Option<StorePath>> {
        let prefix = format!("{}/{hash}", self.store_dir);
        let mut statement = self.prepare(&self.conn, PATHS_FROM)?;
        let mut rows = statement.query([prefix.as_str()]).explain(self, READ)?;
        match self.next(&mut rows)? {
            Some(row) if self.text(row, 0)?.starts_with(prefix.as_bytes()) => {
                self.path(row, 0).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// All valid paths.
    pub fn query_all_valid(&self) -> Result<StorePathSet> {
        self.paths_of(&self.conn, ALL_PATHS, params![])
    }

    /// The id of the path that became valid last, or 0. Later ones get larger ids.
    pub(crate) fn query_last_id(&self) -> Result<usize> {
        self.last_id(&self.conn)
    }

    /// The valid paths with larger ids than this.
    pub(crate) fn query_newer(&self, id: usize) -> Result<StorePathSet> {
        let id = i64::try_from(id).unwrap_or(i64::MAX);
        self.paths_of(&self.conn, NEWER_PATHS, params![id])
    }

    pub(super) fn referrers_within(
        &self,
        conn: &Connection,
        path: &StorePath,
    ) -> Result<StorePathSet> {
        self.paths_of(conn, REFERRERS_OF, params![self.store_dir.print(path)])
    }

    pub(super) fn find_id(&self, conn: &Connection, path: &StorePath) -> Result<Option<i64>> {
        self.prepare(conn, ID_OF)?
            .query_row([self.store_dir.print(path)], |row| row.get(0))
            .optional()
            .explain(self, READ)
    }

    pub(super) fn require_id(&self, conn: &Connection, path: &StorePath) -> Result<i64> {
        self.find_id(conn, path)?
            .ok_or_else(|| Error::not_valid(&self.store_dir, path))
    }

    pub(super) fn prepare<'c>(
        &self,
        conn: &'c Connection,
        sql: &str,
    ) -> Result<CachedStatement<'c>> {
        conn.prepare_cached(sql).explain(self, READ)
    }

    /// The paths in the first column of a query's rows.
    fn paths_of(
        &self,
        conn: &Connection,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<StorePathSet> {
        let mut statement = self.prepare(conn, sql)?;
        let mut rows = statement.query(parameters).explain(self, READ)?;
        let mut paths = Vec::new();
        while let Some(row) = self.next(&mut rows)? {
            paths.push(self.path(row, 0)?);
        }
        Ok(paths.into_iter().collect())
    }

    /// Reads the infos of a batch in one transaction; `wanted` must be in order.
    fn read_infos(
        &self,
        wanted: &[&StorePath],
        by_id: &mut PathsById,
        mut each: impl FnMut(ValidPathInfo),
    ) -> Result<()> {
        self.read_transaction(|conn| {
            let mut infos = self.prepare(conn, INFOS_FROM)?;
            let mut references = self.prepare(conn, REFERENCE_IDS_OF_ID)?;
            let mut path_of = self.prepare(conn, PATH_OF_ID)?;
            self.for_each_valid(&mut infos, wanted.iter().copied(), |path, row| {
                let mut info = self.info_of(&self.raw_info(row)?, || self.store_dir.print(path))?;
                let mut rows = references
                    .query([self.integer(row, 1)?])
                    .explain(self, READ)?;
                let mut paths = Vec::new();
                while let Some(row) = self.next(&mut rows)? {
                    let id = self.integer(row, 0)?;
                    paths.push(self.path_of_id(&mut path_of, by_id, id)?);
                }
                info.references = paths.into_iter().collect();
                each(ValidPathInfo {
                    path: path.clone(),
                    info,
                });
                Ok(())
            })
        })
    }

    /// The paths of all ids, if a question about `wanted` paths is likely to need most of
    /// them; else none, to be found one by one.
    fn load_paths_by_id(&self, wanted: usize) -> Result<PathsById> {
        let mut paths = Vec::new();
        self.read_transaction(|conn| {
            let last = self.last_id(conn)?;
            if wanted < INFO_BATCH || wanted < last / 4 {
                return Ok(());
            }
            let mut statement = self.prepare(conn, PATHS_BY_ID)?;
            let mut rows = statement.query([]).explain(self, READ)?;
            while let Some(row) = self.next(&mut rows)? {
                let id = usize::try_from(self.integer(row, 0)?).unwrap_or(0);
                if id >= paths.len() {
                    paths.resize(id + 1, None);
                }
                paths[id] = Some(self.path(row, 1)?);
            }
            Ok(())
        })?;
        Ok(PathsById {
            dense: paths,
            others: HashMap::new(),
        })
    }

    /// The largest id, 0 if there is none.
    pub(super) fn last_id(&self, conn: &Connection) -> Result<usize> {
        let last: i64 = self
            .prepare(conn, LAST_ID)?
            .query_row([], |row| row.get(0))
            .explain(self, READ)?;
        Ok(usize::try_from(last).unwrap_or(usize::MAX))
    }

    fn path_of_id(
        &self,
        statement: &mut CachedStatement<'_>,
        by_id: &mut PathsById,
        id: i64,
    ) -> Result<StorePath> {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        if let Some(Some(path)) = by_id.dense.get(index) {
            return Ok(path.clone());
        }
        if let Some(path) = by_id.others.get(&id) {
            return Ok(path.clone());
        }
        let path = self.find_path(statement, id)?;
        if by_id.others.len() >= PATHS_KEPT {
            by_id.others.clear();
        }
        by_id.others.insert(id, path.clone());
        Ok(path)
    }

    /// The path of a row that another row refers to, by [`PATH_OF_ID`].
    pub(super) fn find_path(
        &self,
        statement: &mut CachedStatement<'_>,
        id: i64,
    ) -> Result<StorePath> {
        statement
            .query_row([id], |row| Ok(self.path(row, 0)))
            .optional()
            .explain(self, READ)?
            .ok_or_else(|| Error::DanglingReference {
                path: self.file.clone(),
                id,
            })?
    }

    /// Everything but the references; `path` tells whose row it is, for errors.
    pub(super) fn info_of<P: AsRef<[u8]>>(
        &self,
        raw: &RawInfo<'_>,
        path: impl Fn() -> P,
    ) -> Result<UnkeyedValidPathInfo> {
        let hash = self.utf8(raw.hash, "hash", &path)?;
        let hash = NarHash::parse_any(hash).map_err(|e| self.corrupt("hash", path(), e))?;
        let nar_size =
            u64::try_from(raw.nar_size).map_err(|e| self.corrupt("narSize", path(), e))?;
        let mut info = UnkeyedValidPathInfo::new(hash, nar_size);
        info.registration_time = raw.registration_time;
        if !raw.deriver.is_empty() {
            let deriver = self.store_dir.parse(raw.deriver);
            info.deriver = Some(deriver.map_err(|e| self.corrupt("deriver", path(), e))?);
        }
        info.ultimate = raw.ultimate;
        for text in self.utf8(raw.sigs, "sigs", &path)?.split(' ') {
            if !text.is_empty() {
                let sig = Signature::verbatim(text);
                info.sigs
                    .insert(sig.map_err(|e| self.corrupt("sigs", path(), e))?);
            }
        }
        let ca = self.utf8(raw.ca, "ca", &path)?;
        if !ca.is_empty() {
            info.ca = Some(ca.parse().map_err(|e| self.corrupt("ca", path(), e))?);
        }
        Ok(info)
    }

    /// The values of a row, whose columns are those of [`INFOS_FROM`].
    pub(super) fn raw_info<'r>(&self, row: &'r Row<'_>) -> Result<RawInfo<'r>> {
        Ok(RawInfo {
            hash: self.text(row, 2)?,
            registration_time: self.integer(row, 3)?,
            deriver: self.text(row, 4)?,
            nar_size: self.integer(row, 5)?,
            ultimate: self.integer(row, 6)? != 0,
            sigs: self.text(row, 7)?,
            ca: self.text(row, 8)?,
        })
    }

    fn utf8<'r, P: AsRef<[u8]>>(
        &self,
        bytes: &'r [u8],
        column: &'static str,
        path: impl Fn() -> P,
    ) -> Result<&'r str> {
        std::str::from_utf8(bytes).map_err(|error| self.corrupt(column, path(), error))
    }

    /// The signatures of a valid path.
    pub(super) fn signatures_within(
        &self,
        conn: &Connection,
        path: &StorePath,
    ) -> Result<BTreeSet<Signature>> {
        let mut statement = self.prepare(conn, INFOS_FROM)?;
        let mut sigs = None;
        self.for_each_valid(&mut statement, std::iter::once(path), |path, row| {
            let info = self.info_of(&self.raw_info(row)?, || self.store_dir.print(path))?;
            sigs = Some(info.sigs);
            Ok(())
        })?;
        sigs.ok_or_else(|| Error::not_valid(&self.store_dir, path))
    }
}

/// The values of a row of `ValidPaths`, as texts and numbers; NULL is empty or 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawInfo<'r> {
    pub(super) hash: &'r [u8],
    pub(super) registration_time: i64,
    pub(super) deriver: &'r [u8],
    pub(super) nar_size: i64,
    pub(super) ultimate: bool,
    pub(super) sigs: &'r [u8],
    pub(super) ca: &'r [u8],
}

/// Paths by their ids, which the database never uses twice.
#[derive(Debug, Default)]
struct PathsById {
    /// Indexed by id.
    dense: Vec<Option<StorePath>>,
    /// What was looked up since.
    others: HashMap<i64, StorePath>,
}

/// Infos read in one transaction.
pub(super) const INFO_BATCH: usize = 1024;
/// Referenced paths that a bulk query remembers, so that it needn't look up and parse
/// each of them again.
const PATHS_KEPT: usize = 1 << 17;

const ID_OF: &str = "select id from ValidPaths where path = ?1";
pub(super) const PATH_OF_ID: &str = "select path from ValidPaths where id = ?1";
const PATHS_BY_ID: &str = "select id, path from ValidPaths order by id";
const LAST_ID: &str = "select ifnull(max(id), 0) from ValidPaths";
const ALL_PATHS: &str = "select path from ValidPaths order by path";
const NEWER_PATHS: &str = "select path from ValidPaths where id > ?1";
pub(super) const PATHS_FROM: &str =
    "select path, id from ValidPaths where path >= ?1 order by path";
const INFOS_FROM: &str = "select path, id, hash, registrationTime, deriver, narSize, ultimate, \
     sigs, ca from ValidPaths where path >= ?1 order by path";
pub(super) const REFERENCE_IDS_OF_ID: &str = "select reference from Refs where referrer = ?1";
const REFERENCES_OF_ID: &str = "select v.path from Refs r \
     join ValidPaths v on v.id = r.reference where r.referrer = ?1";
const REFERRERS_OF: &str = "select v.path from Refs r join ValidPaths v on v.id = r.referrer \
     where r.reference = (select id from ValidPaths where path = ?1)";
const DERIVERS_OF: &str = "select v.path from DerivationOutputs d \
     join ValidPaths v on v.id = d.drv where d.path = ?1";
const OUTPUTS_OF_ID: &str = "select id, path from DerivationOutputs where drv = ?1 order by id";
