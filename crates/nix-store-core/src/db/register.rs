//! Making paths valid.
//!
//! Rows are written in the order of the paths, so that the indices grow at their ends.
//! References follow as numbers, by a plan of which path of the batch refers to which; a large
//! batch is planned by another thread while the rows are written.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::resume_unwind;
use std::time::SystemTime;

use nix_base::{OutputName, StoreDir, StorePath, ValidPathInfo};
use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params, params_from_iter};

use super::Db;
use super::busy::Explain;
use super::write::joined;
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
        self.register_and(batch, |_| Ok(()))
    }

    /// [`Self::register`], with more writes at the end of the transaction.
    pub(super) fn register_and(
        &self,
        batch: &[Registration],
        also: impl FnOnce(&Connection) -> Result<()>,
    ) -> Result<()> {
        for registration in batch {
            check_content_address(&self.store_dir, &registration.info)?;
        }
        let order = in_order(batch);
        let write = || {
            self.write_transaction(REGISTER, |conn| {
                let (plan, ids) = self.write_and_plan(conn, batch, &order)?;
                let index = match batch.len() < MANY {
                    true => None,
                    false => self.drop_index_while_empty(conn)?,
                };
                self.write_references(conn, &order, &plan, &ids)?;
                if let Some(create_index) = index {
                    conn.execute_batch(&create_index).explain(self, REGISTER)?;
                }
                also(conn)
            })
        };
        if batch.len() < MANY {
            return write();
        }
        // Every id comes from the table within the transaction, and nothing is deleted: for
        // many rows, SQLite need not look each one up again.
        self.enforce_foreign_keys(false)?;
        let written = write();
        self.enforce_foreign_keys(true)?;
        written
    }

    /// Writes the rows of the paths, and finds out which of them refer to which.
    fn write_and_plan<'b>(
        &self,
        conn: &Connection,
        batch: &'b [Registration],
        order: &[usize],
    ) -> Result<(Plan<'b>, Vec<i64>)> {
        let plan = || Plan::checked(&self.store_dir, batch);
        if batch.len() < MANY {
            return Ok((plan()?, self.write_paths(conn, batch, order)?));
        }
        let dir = &self.store_dir;
        let (plan, ids) = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new();
            let planner = thread.spawn_scoped(scope, || Plan::checked(dir, batch));
            let ids = self.write_paths(conn, batch, order);
            let plan = match planner {
                Ok(planner) => planner.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // There is no room for one.
                Err(_) => plan(),
            };
            (plan, ids)
        });
        Ok((plan?, ids?))
    }

    /// Drops the index of what is referred to if nothing is yet, and gives the statement that
    /// makes it: the order of many references is any for that index, so it is filled faster
    /// afterwards than along the way.
    fn drop_index_while_empty(&self, conn: &Connection) -> Result<Option<String>> {
        let create: Option<String> = conn
            .query_row(INDEX_WHILE_EMPTY, [], |row| row.get(0))
            .optional()
            .explain(self, REGISTER)?;
        if create.is_some() {
            conn.execute_batch(DROP_INDEX).explain(self, REGISTER)?;
        }
        Ok(create)
    }

    fn enforce_foreign_keys(&self, on: bool) -> Result<()> {
        self.conn
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, on)
            .explain(self, REGISTER)
            .map(drop)
    }

    /// Inserts or updates the rows of the paths; gives their ids, by their places in the
    /// batch.
    fn write_paths(
        &self,
        conn: &Connection,
        batch: &[Registration],
        order: &[usize],
    ) -> Result<Vec<i64>> {
        let mut insert = conn.prepare_cached(INSERT_PATH).explain(self, REGISTER)?;
        let mut update = conn.prepare_cached(UPDATE_PATH).explain(self, REGISTER)?;
        let mut insert_output = conn.prepare_cached(INSERT_OUTPUT).explain(self, REGISTER)?;
        let now = unix_seconds();
        let mut ids = vec![0; batch.len()];
        for &place in order {
            let Registration { info, outputs } = &batch[place];
            let row = PathRow::new(&self.store_dir, info, now)?;
            let id = match row.insert(&mut insert).explain(self, REGISTER)? {
                true => conn.last_insert_rowid(),
                false => {
                    row.update(&mut update).explain(self, REGISTER)?;
                    self.require_id(conn, &info.path)?
                }
            };
            ids[place] = id;
            for (name, path) in outputs {
                insert_output
                    .execute(params![id, name.as_str(), self.store_dir.print(path)])
                    .explain(self, REGISTER)?;
            }
        }
        Ok(ids)
    }

    fn write_references(
        &self,
        conn: &Connection,
        order: &[usize],
        plan: &Plan<'_>,
        ids: &[i64],
    ) -> Result<()> {
        let mut insert = conn
            .prepare_cached(&format!("{INSERT_REFERENCES} (?, ?)"))
            .explain(self, REGISTER)?;
        // A statement that is run for each row takes most of its time to begin and to end.
        let many = format!(
            "{INSERT_REFERENCES} {}",
            ["(?, ?)"; PAIRS_AT_ONCE].join(", ")
        );
        let mut insert_many = conn.prepare_cached(&many).explain(self, REGISTER)?;
        let mut outside: PathMap<'_, i64> = HashMap::default();
        let mut references = Vec::new();
        let mut pairs: Vec<i64> = Vec::new();
        for &place in order {
            let referrer = ids[place];
            references.clear();
            for target in plan.references_of(place) {
                references.push(match target {
                    Target::InBatch(other) => ids[*other],
                    Target::Outside(path) => match outside.get(path) {
                        Some(&id) => id,
                        None => {
                            let id = self.require_id(conn, path)?;
                            outside.insert(path, id);
                            id
                        }
                    },
                });
            }
            references.sort_unstable();
            let rows = references.iter().map(|&reference| [referrer, reference]);
            pairs.extend(rows.flatten());
            while let Some(full) = pairs.get(..PAIRS_AT_ONCE * 2) {
                let full = params_from_iter(full);
                insert_many.execute(full).explain(self, REGISTER)?;
                pairs.drain(..PAIRS_AT_ONCE * 2);
            }
        }
        for pair in pairs.chunks_exact(2) {
            let pair = params_from_iter(pair);
            insert.execute(pair).explain(self, REGISTER)?;
        }
        Ok(())
    }
}

/// What a path of the batch refers to.
enum Target<'b> {
    /// A place in the batch.
    InBatch(usize),
    /// A path that has to be valid already.
    Outside(&'b StorePath),
}

/// Places in the batch, in the order of their paths.
fn in_order(batch: &[Registration]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by(|&a, &b| batch[a].info.path.cmp(&batch[b].info.path));
    order
}

/// The references of a batch, resolved.
struct Plan<'b> {
    targets: Vec<Target<'b>>,
    /// Where the targets of each place begin; one more for the end.
    starts: Vec<usize>,
}

impl<'b> Plan<'b> {
    /// Fails if paths refer to each other in a circle.
    fn checked(store_dir: &StoreDir, batch: &'b [Registration]) -> Result<Self> {
        let plan = Self::new(batch);
        let Some((path, referrer)) = plan.find_circle() else {
            return Ok(plan);
        };
        let full = |i: usize| Box::new(FullPath::new(store_dir, &batch[i].info.path));
        Err(Error::ReferenceCycle {
            path: full(path),
            referrer: full(referrer),
        })
    }

    fn new(batch: &'b [Registration]) -> Self {
        let mut places: PathMap<'_, usize> = HashMap::default();
        places.reserve(batch.len());
        for (place, registration) in batch.iter().enumerate() {
            places.insert(&registration.info.path, place);
        }
        let count = |one: &Registration| one.info.references.len();
        let mut targets = Vec::with_capacity(batch.iter().map(count).sum());
        let mut starts = Vec::with_capacity(batch.len() + 1);
        for Registration { info, .. } in batch {
            starts.push(targets.len());
            targets.extend(info.references.iter().map(|path| match places.get(path) {
                Some(&place) => Target::InBatch(place),
                None => Target::Outside(path),
            }));
        }
        starts.push(targets.len());
        Self { targets, starts }
    }

    fn references_of(&self, place: usize) -> &[Target<'b>] {
        &self.targets[self.starts[place]..self.starts[place + 1]]
    }

    /// What a place refers to within the batch, itself excepted.
    fn others_of(&self, place: usize) -> impl Iterator<Item = usize> {
        self.references_of(place)
            .iter()
            .filter_map(move |target| match target {
                Target::InBatch(other) if *other != place => Some(*other),
                _ => None,
            })
    }

    /// A path and its referrer on a circle of references, if there is one.
    ///
    /// Takes away paths that nothing left in the batch refers to, until none is left: what
    /// can't be taken away is on a circle, or below one.
    fn find_circle(&self) -> Option<(usize, usize)> {
        let len = self.starts.len() - 1;
        let mut referrers = vec![0_usize; len];
        for place in 0..len {
            self.others_of(place)
                .for_each(|other| referrers[other] += 1);
        }
        let mut free: Vec<usize> = (0..len).filter(|&i| referrers[i] == 0).collect();
        while let Some(place) = free.pop() {
            for other in self.others_of(place) {
                referrers[other] -= 1;
                if referrers[other] == 0 {
                    free.push(other);
                }
            }
        }
        let stuck = |&i: &usize| referrers[i] > 0;
        let start = (0..len).find(stuck)?;
        // Each path that is left has a referrer that is left: going back leads onto the circle.
        let mut referrer_of = vec![start; len];
        for referrer in (0..len).filter(stuck) {
            self.others_of(referrer)
                .for_each(|other| referrer_of[other] = referrer);
        }
        let on_circle = (0..len).fold(start, |i, _| referrer_of[i]);
        Some((on_circle, referrer_of[on_circle]))
    }
}

type PathMap<'p, T> = HashMap<&'p StorePath, T, BuildHasherDefault<PathHasher>>;

/// Takes the digits of a store path's hash as they come: each is as good as random, unless the
/// store's owner makes them up.
#[derive(Default)]
struct PathHasher(u64);

impl Hasher for PathHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        for &byte in rest {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, _: usize) {
        // Lengths tell nothing that the bytes don't.
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
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

const REGISTER: &str = "register paths in";
/// From how many paths on the look-ups of foreign keys cost more than preparing the
/// statements again.
const MANY: usize = 2000;

/// How many references one statement inserts.
const PAIRS_AT_ONCE: usize = 32;

const INSERT_PATH: &str = "insert into ValidPaths \
     (path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (path) do nothing";
const UPDATE_PATH: &str = "update ValidPaths \
     set hash = ?2, narSize = ?3, ultimate = ?4, sigs = ?5, ca = ?6 where path = ?1";
const INSERT_REFERENCES: &str = "insert or ignore into Refs (referrer, reference) values";
const INSERT_OUTPUT: &str =
    "insert or replace into DerivationOutputs (drv, id, path) values (?1, ?2, ?3)";
const INDEX_WHILE_EMPTY: &str = "select sql from sqlite_master \
     where type = 'index' and name = 'IndexReference' and not exists (select 1 from Refs)";
const DROP_INDEX: &str = "drop index IndexReference";
