//! The whole reference graph in memory: every table is walked once, and the rows are joined
//! by their numbers.

use std::cmp::Ordering;
use std::ops::Range;

use nix_base::store_path::HASH_DIGITS;
use nix_base::{StorePath, StorePathHash};
use rusqlite::Connection;

use super::Db;
use super::busy::Explain;
use super::places::Places;
use super::scan::READ;
use crate::error::Result;

/// All valid paths, ascending, and how they hang together. A path is named by its place in
/// that order.
///
/// It is a snapshot: what is registered or deleted afterwards doesn't show.
#[derive(Debug, Default)]
pub struct StoreGraph {
    paths: Vec<StorePath>,
    /// The beginnings of their hashes, which most comparisons need alone.
    keys: Vec<u64>,
    rows: Vec<Row>,
    references: Edges,
    referrers: Edges,
    outputs: Edges,
    derivers: Edges,
}

/// What else is known of a path.
#[derive(Debug, Clone, Copy)]
struct Row {
    id: i64,
    nar_size: u64,
    registration_time: i64,
    /// The recorded deriver if it is valid, else [`NOTHING`].
    deriver: u32,
}

/// Edges from each path to others, all in one list.
#[derive(Debug, Default)]
struct Edges {
    /// Where the edges of each path begin; one more than there are paths.
    starts: Vec<u32>,
    ends: Vec<u32>,
}

impl Db {
    /// Reads the graph of all valid paths.
    ///
    /// # Errors
    /// The database can't be read, or holds what is no path.
    pub fn load_graph(&self) -> Result<StoreGraph> {
        self.read_transaction(|conn| {
            let (mut graph, places, derivers) = self.load_rows(conn)?;
            for (row, deriver) in graph.rows.iter_mut().zip(derivers) {
                row.deriver = deriver;
            }
            let pairs = self.load_references(conn, &places)?;
            graph.references = Edges::new(graph.paths.len(), &pairs, |&(from, to)| (from, to));
            graph.referrers = Edges::new(graph.paths.len(), &pairs, |&(from, to)| (to, from));
            let pairs = self.load_outputs(conn, &graph, &places)?;
            graph.outputs = Edges::new(graph.paths.len(), &pairs, |&(from, to)| (from, to));
            graph.derivers = Edges::new(graph.paths.len(), &pairs, |&(from, to)| (to, from));
            Ok(graph)
        })
    }

    /// The paths without their edges, and the place of each deriver.
    fn load_rows(&self, conn: &Connection) -> Result<(StoreGraph, Places, Vec<u32>)> {
        let mut found = Vec::new();
        let mut statement = self.prepare(conn, GRAPH_ROWS)?;
        let mut rows = statement.query([]).explain(self, READ)?;
        while let Some(row) = self.next(&mut rows)? {
            let deriver = self.text(row, 2)?;
            let known = Row {
                id: self.integer(row, 0)?,
                nar_size: u64::try_from(self.integer(row, 3)?).unwrap_or(0),
                registration_time: self.integer(row, 4)?,
                deriver: NOTHING,
            };
            // A deriver that is no path can't be valid, either.
            let deriver = match deriver {
                b"" => None,
                text => self.store_dir.parse(text).ok(),
            };
            found.push((self.path(row, 1)?, known, deriver));
        }
        let mut order: Vec<(u64, usize)> = found
            .iter()
            .enumerate()
            .map(|(at, (path, ..))| (key(path.hash()), at))
            .collect();
        order.sort_unstable_by(|&(a, at), &(b, other)| {
            a.cmp(&b).then_with(|| found[at].0.cmp(&found[other].0))
        });
        let mut graph = StoreGraph::default();
        let mut derivers = Vec::with_capacity(found.len());
        graph.paths.reserve_exact(found.len());
        graph.keys.reserve_exact(found.len());
        graph.rows.reserve_exact(found.len());
        for (key, at) in order {
            let (path, row, deriver) = &mut found[at];
            graph.keys.push(key);
            graph.paths.push(path.clone());
            graph.rows.push(*row);
            derivers.push(deriver.take());
        }
        drop(found);
        let places = Places::new(graph.rows.iter().map(|row| row.id));
        let derivers = derivers
            .iter()
            .map(|deriver| deriver.as_ref().and_then(|path| graph.find(path)))
            .map(|place| place.unwrap_or(NOTHING))
            .collect();
        Ok((graph, places, derivers))
    }

    /// References, as places. Those of rows that aren't there are left out.
    fn load_references(&self, conn: &Connection, places: &Places) -> Result<Vec<(u32, u32)>> {
        let mut pairs = Vec::new();
        let mut statement = self.prepare(conn, GRAPH_REFERENCES)?;
        let mut rows = statement.query([]).explain(self, READ)?;
        while let Some(row) = self.next(&mut rows)? {
            let from = places.find(self.integer(row, 0)?);
            let to = places.find(self.integer(row, 1)?);
            pairs.extend(from.zip(to));
        }
        Ok(pairs)
    }

    /// Derivations with their valid outputs, as places.
    fn load_outputs(
        &self,
        conn: &Connection,
        graph: &StoreGraph,
        places: &Places,
    ) -> Result<Vec<(u32, u32)>> {
        let mut pairs = Vec::new();
        let mut statement = self.prepare(conn, GRAPH_OUTPUTS)?;
        let mut rows = statement.query([]).explain(self, READ)?;
        while let Some(row) = self.next(&mut rows)? {
            let from = places.find(self.integer(row, 0)?);
            let path = self.store_dir.parse(self.text(row, 1)?).ok();
            pairs.extend(from.zip(path.and_then(|path| graph.find(&path))));
        }
        Ok(pairs)
    }
}

impl StoreGraph {
    /// How many valid paths there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// All valid paths, ascending: the index of each is its place.
    #[must_use]
    pub fn paths(&self) -> &[StorePath] {
        &self.paths
    }

    /// The path at `place`.
    #[must_use]
    pub fn path(&self, place: u32) -> &StorePath {
        &self.paths[place as usize]
    }

    /// The place of `path`, if it is valid.
    #[must_use]
    pub fn find(&self, path: &StorePath) -> Option<u32> {
        let near = self.with_key(key(path.hash()));
        self.search(near, |other| other.cmp(path))
    }

    /// The place of the path with this base name, if it is valid.
    #[must_use]
    pub fn find_base_name(&self, name: &[u8]) -> Option<u32> {
        let (digits, rest) = name.split_at_checked(HASH_DIGITS)?;
        let name = rest.strip_prefix(b"-")?;
        let key = u64::from_be_bytes(*digits.first_chunk()?);
        self.search(self.with_key(key), |path| {
            let hash = path.hash().as_str().as_bytes().cmp(digits);
            hash.then_with(|| path.name().as_str().as_bytes().cmp(name))
        })
    }

    /// The places of the paths with this hash; there is hardly ever more than one.
    #[must_use]
    pub fn with_hash(&self, hash: &StorePathHash) -> Range<u32> {
        let near = self.with_key(key(hash));
        let paths = &self.paths[near.start as usize..near.end as usize];
        let start = paths.partition_point(|path| path.hash() < hash);
        let count = paths[start..].partition_point(|path| path.hash() == hash);
        near.start + small(start)..near.start + small(start + count)
    }

    /// The places of the paths whose hash begins with `key`.
    fn with_key(&self, key: u64) -> Range<u32> {
        let start = self.keys.partition_point(|&other| other < key);
        let rest = &self.keys[start..];
        // Hardly ever more than one, but who makes up hashes may give all the same beginning.
        let count = match rest.get(1) {
            Some(&second) if second == key => rest.partition_point(|&other| other == key),
            _ => usize::from(rest.first() == Some(&key)),
        };
        small(start)..small(start + count)
    }

    /// The place in `near` whose path is equal by `order`.
    fn search(&self, near: Range<u32>, order: impl FnMut(&StorePath) -> Ordering) -> Option<u32> {
        let paths = &self.paths[near.start as usize..near.end as usize];
        let found = paths.binary_search_by(order).ok()?;
        Some(near.start + small(found))
    }

    /// What the path at `place` refers to, itself included if it does.
    #[must_use]
    pub fn references(&self, place: u32) -> &[u32] {
        self.references.of(place)
    }

    /// What refers to the path at `place`, itself included if it does.
    #[must_use]
    pub fn referrers(&self, place: u32) -> &[u32] {
        self.referrers.of(place)
    }

    /// The valid outputs recorded for the derivation at `place`.
    #[must_use]
    pub fn outputs(&self, place: u32) -> &[u32] {
        self.outputs.of(place)
    }

    /// The valid derivations that have the path at `place` as an output.
    #[must_use]
    pub fn valid_derivers(&self, place: u32) -> &[u32] {
        self.derivers.of(place)
    }

    /// The derivation that the path at `place` is recorded to be built from, if it is valid.
    #[must_use]
    pub fn deriver(&self, place: u32) -> Option<u32> {
        let deriver = self.rows[place as usize].deriver;
        (deriver != NOTHING).then_some(deriver)
    }

    /// The size of the archive of the path at `place`; 0 if it isn't recorded.
    #[must_use]
    pub fn nar_size(&self, place: u32) -> u64 {
        self.rows[place as usize].nar_size
    }

    /// When the path at `place` was registered, in seconds since 1970.
    #[must_use]
    pub fn registration_time(&self, place: u32) -> i64 {
        self.rows[place as usize].registration_time
    }

    /// The number of the row of the path at `place`, which no other path ever gets.
    pub(crate) fn row_id(&self, place: u32) -> i64 {
        self.rows[place as usize].id
    }
}

impl Edges {
    fn new(count: usize, pairs: &[(u32, u32)], turn: impl Fn(&(u32, u32)) -> (u32, u32)) -> Self {
        let mut starts = vec![0; count + 1];
        for pair in pairs {
            starts[turn(pair).0 as usize + 1] += 1;
        }
        for place in 0..count {
            starts[place + 1] += starts[place];
        }
        let mut next = starts.clone();
        let mut ends = vec![0; pairs.len()];
        for pair in pairs {
            let (from, to) = turn(pair);
            let slot = &mut next[from as usize];
            ends[*slot as usize] = to;
            *slot += 1;
        }
        Self { starts, ends }
    }

    fn of(&self, place: u32) -> &[u32] {
        let place = place as usize;
        &self.ends[self.starts[place] as usize..self.starts[place + 1] as usize]
    }
}

/// The beginning of a hash, in an order that is that of paths.
fn key(hash: &StorePathHash) -> u64 {
    let digits = hash.as_str().as_bytes().first_chunk();
    u64::from_be_bytes(*digits.expect("a hash has 32 digits"))
}

/// A place. Rows and references of a store are counted in millions, not in billions.
fn small(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NOTHING)
}

const NOTHING: u32 = u32::MAX;

const GRAPH_ROWS: &str =
    "select id, path, deriver, narSize, registrationTime from ValidPaths order by id";
const GRAPH_REFERENCES: &str = "select referrer, reference from Refs";
const GRAPH_OUTPUTS: &str = "select drv, path from DerivationOutputs";

#[cfg(test)]
mod tests;
