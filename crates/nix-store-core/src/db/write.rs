//! Changes to the database.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use nix_base::{OutputName, Signature, StoreDir, StorePath, ValidPathInfo};
use rusqlite::{CachedStatement, Connection, params};

use super::Db;
use super::busy::Explain;
use crate::error::{Error, FullPath, Result};

/// A path that is to become valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The path and its metadata; a registration time of 0 means now.
    pub info: ValidPathInfo,
    /// For a `.drv` file: its outputs, as far as their paths are known.
    pub outputs: Vec<(OutputName, StorePath)>,
}

impl From<ValidPathInfo> for Registration {
    fn from(info: ValidPathInfo) -> Self {
        Self {
            info,
            outputs: Vec::new(),
        }
    }
}

impl Db {
    /// Makes paths valid, all or none. This is the moment from which they exist.
    ///
    /// They may refer to each other, in any order. Of a path that is valid already, hash,
    /// size, signatures, content address and `ultimate` are replaced, references are added,
    /// and its deriver and registration time stay.
    ///
    /// # Errors
    /// A reference that is neither valid nor in the batch, a path that doesn't follow from
    /// its content address, references in a circle; those of the database.
    pub fn register(&self, batch: &[Registration]) -> Result<()> {
        for registration in batch {
            check_content_address(&self.store_dir, &registration.info)?;
        }
        check_acyclic(&self.store_dir, batch)?;
        self.write_transaction(REGISTER, |conn| {
            let mut ids = HashMap::with_capacity(batch.len());
            self.write_paths(conn, batch, &mut ids)?;
            self.write_references(conn, batch, &mut ids)
        })
    }

    /// Makes `path` invalid; does nothing if it is invalid already.
    ///
    /// # Errors
    /// Another valid path refers to it.
    pub fn invalidate(&self, path: &StorePath) -> Result<()> {
        self.write_transaction(INVALIDATE, |conn| {
            let mut referrers = self.referrers_within(conn, path)?;
            referrers.remove(path);
            if !referrers.is_empty() {
                let full = |path| FullPath::new(&self.store_dir, path);
                return Err(Error::PathInUse {
                    path: Box::new(full(path)),
                    referrers: referrers.iter().map(full).collect(),
                });
            }
            conn.prepare_cached(DELETE_PATH)
                .and_then(|mut statement| statement.execute([self.store_dir.print(path)]))
                .explain(self, INVALIDATE)
                .map(drop)
        })
    }

    /// Adds `sigs` to those of `path`.
    ///
    /// # Errors
    /// `path` isn't valid.
    pub fn add_signatures(&self, path: &StorePath, sigs: &BTreeSet<Signature>) -> Result<()> {
        self.write_transaction(SIGN, |conn| {
            let mut all = self.signatures_within(conn, path)?;
            all.extend(sigs.iter().cloned());
            conn.prepare_cached(UPDATE_SIGS)
                .and_then(|mut statement| {
                    statement.execute(params![self.store_dir.print(path), joined(&all)])
                })
                .explain(self, SIGN)
                .map(drop)
        })
    }

    fn write_paths<'b>(
        &self,
        conn: &Connection,
        batch: &'b [Registration],
        ids: &mut HashMap<&'b StorePath, i64>,
    ) -> Result<()> {
        let mut insert = conn.prepare_cached(INSERT_PATH).explain(self, REGISTER)?;
        let mut update = conn.prepare_cached(UPDATE_PATH).explain(self, REGISTER)?;
        let mut insert_output = conn.prepare_cached(INSERT_OUTPUT).explain(self, REGISTER)?;
        let now = unix_seconds();
        for Registration { info, outputs } in batch {
            let row = PathRow::new(&self.store_dir, info, now)?;
            let id = match row.insert(&mut insert).explain(self, REGISTER)? {
                true => conn.last_insert_rowid(),
                false => {
                    row.update(&mut update).explain(self, REGISTER)?;
                    self.require_id(conn, &info.path)?
                }
            };
            ids.insert(&info.path, id);
            for (name, path) in outputs {
                insert_output
                    .execute(params![id, name.as_str(), self.store_dir.print(path)])
                    .explain(self, REGISTER)?;
            }
        }
        Ok(())
    }

    fn write_references<'b>(
        &self,
        conn: &Connection,
        batch: &'b [Registration],
        ids: &mut HashMap<&'b StorePath, i64>,
    ) -> Result<()> {
        let mut insert = conn
            .prepare_cached(INSERT_REFERENCE)
            .explain(self, REGISTER)?;
        for Registration { info, .. } in batch {
            let referrer = self.id_within(conn, &info.path, ids)?;
            for path in &info.references {
                let reference = self.id_within(conn, path, ids)?;
                insert
                    .execute([referrer, reference])
                    .explain(self, REGISTER)?;
            }
        }
        Ok(())
    }

    /// The id of a valid path; nothing else can change it within the transaction.
    fn id_within<'b>(
        &self,
        conn: &Connection,
        path: &'b StorePath,
        ids: &mut HashMap<&'b StorePath, i64>,
    ) -> Result<i64> {
        if let Some(&id) = ids.get(path) {
            return Ok(id);
        }
        let id = self.require_id(conn, path)?;
        ids.insert(path, id);
        Ok(id)
    }
}

/// The columns of one path, as they are stored. Absent values are NULL, never 0 or "".
struct PathRow {
    path: String,
    hash: String,
    registration_time: i64,
    deriver: Option<String>,
    nar_size: Option<i64>,
    ultimate: Option<i64>,
    sigs: Option<String>,
    ca: Option<String>,
}

impl PathRow {
    fn new(store_dir: &StoreDir, info: &ValidPathInfo, now: i64) -> Result<Self> {
        let nar_size = i64::try_from(info.nar_size).map_err(|_| Error::TooLarge {
            field: "NAR size",
            value: info.nar_size,
            path: Box::new(FullPath::new(store_dir, &info.path)),
        })?;
        Ok(Self {
            path: store_dir.print(&info.path),
            hash: info.nar_hash.to_prefixed_base16(),
            registration_time: match info.registration_time {
                0 => now,
                time => time,
            },
            deriver: info.deriver.as_ref().map(|path| store_dir.print(path)),
            nar_size: Some(nar_size).filter(|&size| size != 0),
            ultimate: info.ultimate.then_some(1),
            sigs: joined(&info.sigs),
            ca: info.ca.as_ref().map(ToString::to_string),
        })
    }

    /// Inserts the row; false if the path has one already.
    fn insert(&self, statement: &mut CachedStatement<'_>) -> rusqlite::Result<bool> {
        let inserted = statement.execute(params![
            self.path,
            self.hash,
            self.registration_time,
            self.deriver,
            self.nar_size,
            self.ultimate,
            self.sigs,
            self.ca
        ])?;
        Ok(inserted > 0)
    }

    fn update(&self, statement: &mut CachedStatement<'_>) -> rusqlite::Result<usize> {
        statement.execute(params![
            self.path,
            self.hash,
            self.nar_size,
            self.ultimate,
            self.sigs,
            self.ca
        ])
    }
}

fn joined(sigs: &BTreeSet<Signature>) -> Option<String> {
    let sigs: Vec<&str> = sigs.iter().map(Signature::as_str).collect();
    Some(sigs.join(" ")).filter(|text| !text.is_empty())
}

fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(0)
}

fn check_content_address(store_dir: &StoreDir, info: &ValidPathInfo) -> Result<()> {
    match (info.content_address_matches(store_dir), &info.ca) {
        (Some(false), Some(ca)) => Err(Error::WrongContentAddress {
            path: Box::new(FullPath::new(store_dir, &info.path)),
            ca: Box::new(*ca),
        }),
        _ => Ok(()),
    }
}

/// Takes away paths that nothing left in the batch refers to, until none is left: what
/// can't be taken away is on a circle, or below one.
fn check_acyclic(store_dir: &StoreDir, batch: &[Registration]) -> Result<()> {
    let index: HashMap<&StorePath, usize> = (0..)
        .zip(batch)
        .map(|(i, registration)| (&registration.info.path, i))
        .collect();
    let references_of = |i: usize| {
        let info = &batch[i].info;
        let others = info.references.iter().filter(|&path| *path != info.path);
        others.filter_map(|path| index.get(path).copied())
    };
    let mut referrers = vec![0_usize; batch.len()];
    for i in 0..batch.len() {
        references_of(i).for_each(|reference| referrers[reference] += 1);
    }
    let mut free: Vec<usize> = (0..batch.len()).filter(|&i| referrers[i] == 0).collect();
    while let Some(i) = free.pop() {
        for reference in references_of(i) {
            referrers[reference] -= 1;
            if referrers[reference] == 0 {
                free.push(reference);
            }
        }
    }
    let stuck = |&i: &usize| referrers[i] > 0;
    let Some(start) = (0..batch.len()).find(stuck) else {
        return Ok(());
    };
    // Each path that is left has a referrer that is left: going back leads onto the circle.
    let mut referrer_of = vec![start; batch.len()];
    for referrer in (0..batch.len()).filter(stuck) {
        references_of(referrer).for_each(|reference| referrer_of[reference] = referrer);
    }
    let on_circle = (0..batch.len()).fold(start, |i, _| referrer_of[i]);
    let full = |i: usize| Box::new(FullPath::new(store_dir, &batch[i].info.path));
    Err(Error::ReferenceCycle {
        path: full(on_circle),
        referrer: full(referrer_of[on_circle]),
    })
}

const REGISTER: &str = "register paths in";
const INVALIDATE: &str = "remove a path from";
const SIGN: &str = "store signatures in";

const INSERT_PATH: &str = "insert into ValidPaths \
     (path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (path) do nothing";
const UPDATE_PATH: &str = "update ValidPaths \
     set hash = ?2, narSize = ?3, ultimate = ?4, sigs = ?5, ca = ?6 where path = ?1";
const UPDATE_SIGS: &str = "update ValidPaths set sigs = ?2 where path = ?1";
const INSERT_REFERENCE: &str = "insert or replace into Refs (referrer, reference) values (?1, ?2)";
const INSERT_OUTPUT: &str =
    "insert or replace into DerivationOutputs (drv, id, path) values (?1, ?2, ?3)";
const DELETE_PATH: &str = "delete from ValidPaths where path = ?1";
