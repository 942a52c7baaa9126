//! The metadata of most of the store at once.
//!
//! A look-up for each path and each reference jumps about in the file. When many paths
//! are wanted, it is several times faster to walk the index of paths, the references and
//! the table one after the other, and to join them in memory on the numbers of the rows.

use std::cmp::Ordering;
use std::hint::black_box;
use std::ops::Range;

use nix_base::{StorePath, StorePathSet, ValidPathInfo};
use rusqlite::Connection;

use super::Db;
use super::busy::Explain;
use super::connect::CACHE_KIB;
use super::read::{INFO_BATCH, RawInfo};
use super::scan::{READ, print_into};
use crate::error::Result;

impl Db {
    /// The infos of those of `wanted` that are valid, if they are worth a walk through
    /// everything and fit in memory; else `None`.
    pub(super) fn read_many(&self, wanted: &StorePathSet) -> Result<Option<Bulk>> {
        if (INFO_BATCH..=MOST_WANTED).contains(&wanted.len()) {
            self.read_in_bulk(wanted)
        } else {
            Ok(None)
        }
    }

    /// [`Self::read_many`] for any number of paths.
    ///
    /// `None` as well if a row is missing that another one refers to: look-ups then tell
    /// which.
    pub(super) fn read_in_bulk(&self, wanted: &StorePathSet) -> Result<Option<Bulk>> {
        let small = self.conn.pragma_update(None, "cache_size", BULK_CACHE_KIB);
        small.explain(self, READ)?;
        let bulk = self.walk(wanted);
        let usual = self.conn.pragma_update(None, "cache_size", CACHE_KIB);
        usual.explain(self, READ)?;
        bulk
    }

    fn walk(&self, wanted: &StorePathSet) -> Result<Option<Bulk>> {
        self.read_transaction(|conn| {
            let last = self.last_id(conn)?;
            if last > LARGEST_ID {
                return Ok(None);
            }
            let mut bulk = Bulk::new(last);
            let complete = self.walk_paths(conn, wanted, &mut bulk)?
                && self.walk_references(conn, &mut bulk)?
                && self.walk_rows(conn, &mut bulk)?;
            Ok(complete.then_some(bulk))
        })
    }

    /// Calls `each` with what was read, in order.
    pub(super) fn hand_out(
        &self,
        mut bulk: Bulk,
        mut each: impl FnMut(ValidPathInfo) -> Result<()>,
    ) -> Result<()> {
        for start in (0..bulk.places.len()).step_by(BLOCK) {
            let block = start..bulk.places.len().min(start + BLOCK);
            bulk.touch(block.clone());
            for place in block {
                if let Some((path, row)) = bulk.wanted(place) {
                    let mut info = self.info_of(&row, || self.store_dir.print(&path))?;
                    info.references = bulk.references_of(place);
                    each(ValidPathInfo { path, info })?;
                }
            }
        }
        Ok(())
    }

    /// Gives each path its place; false if too many are unwanted.
    fn walk_paths(
        &self,
        conn: &Connection,
        wanted: &StorePathSet,
        bulk: &mut Bulk,
    ) -> Result<bool> {
        let most = wanted.len().saturating_mul(MOST_PER_WANTED);
        let mut wanted = wanted.iter();
        let mut want = wanted.next();
        let mut text = String::new();
        if let Some(path) = want {
            print_into(&self.store_dir, path, &mut text);
        }
        let mut statement = self.prepare(conn, PATHS_IN_ORDER)?;
        let mut rows = statement.query([]).explain(self, READ)?;
        while let Some(row) = self.next(&mut rows)? {
            let have = self.text(row, 0)?;
            let mut found = None;
            while let Some(path) = want {
                let order = have.cmp(text.as_bytes());
                if order == Ordering::Less {
                    break;
                }
                want = wanted.next();
                if let Some(next) = want {
                    print_into(&self.store_dir, next, &mut text);
                }
                if order == Ordering::Equal {
                    found = Some(path.clone());
                    break;
                }
            }
            if bulk.places.len() >= most || !bulk.add(self.integer(row, 1)?, found) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Collects the references of the wanted paths; false if one leads nowhere, or there
    /// are too many.
    fn walk_references(&self, conn: &Connection, bulk: &mut Bulk) -> Result<bool> {
        let mut statement = self.prepare(conn, REFERENCES_IN_ORDER)?;
        let mut rows = statement.query([]).explain(self, READ)?;
        let mut current = None;
        let mut referrer = None;
        while let Some(row) = self.next(&mut rows)? {
            let id = self.integer(row, 0)?;
            if current != Some(id) {
                current = Some(id);
                referrer = bulk.place(id).filter(|&i| bulk.is_wanted(i));
            }
            if let Some(referrer) = referrer
                && !bulk.refer(referrer, self.integer(row, 1)?)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps the values of the wanted paths, and the names of those that they refer to;
    /// false if one isn't there, or there is too much.
    fn walk_rows(&self, conn: &Connection, bulk: &mut Bulk) -> Result<bool> {
        let mut statement = self.prepare(conn, ROWS_IN_ORDER)?;
        let mut rows = statement.query([]).explain(self, READ)?;
        while let Some(row) = self.next(&mut rows)? {
            let Some(place) = bulk.place(self.integer(row, 1)?) else {
                continue;
            };
            match bulk.needs[place] {
                Need::Nothing => {}
                Need::Name => bulk.name(place, self.path(row, 0)?),
                Need::Row if bulk.size() > MOST_BYTES => return Ok(false),
                Need::Row => bulk.save(place, &self.raw_info(row)?),
            }
        }
        Ok(bulk.missing == 0)
    }
}

/// Everything about the wanted paths, in one order: that of the paths.
#[derive(Debug)]
pub(super) struct Bulk {
    /// By id: the place counted from 1, or 0 if there is no such path.
    by_id: Vec<u32>,
    /// All valid paths.
    places: Vec<Place>,
    /// By place; apart from the rest because every reference asks for one.
    needs: Vec<Need>,
    /// The names of those places that are wanted or referred to.
    paths: Vec<Option<StorePath>>,
    /// The references of all wanted paths, as places.
    references: Vec<u32>,
    /// What the wanted paths' rows say, in the order of their ids.
    rows: Vec<SavedRow>,
    /// The texts of the rows.
    texts: Vec<u8>,
    /// How many rows are still to be read.
    missing: usize,
}

/// Where to find what is known of a path.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The index of its row, or [`NO_ROW`].
    row: u32,
    first_reference: u32,
    end_of_references: u32,
}

impl Place {
    fn references(&self) -> Range<usize> {
        self.first_reference as usize..self.end_of_references as usize
    }
}

/// What is still to be found in the row of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// The path, as others refer to it.
    Name,
    /// All columns.
    Row,
}

impl Bulk {
    fn new(last_id: usize) -> Self {
        Self {
            by_id: vec![0; last_id + 1],
            places: Vec::new(),
            needs: Vec::new(),
            paths: Vec::new(),
            references: Vec::new(),
            rows: Vec::new(),
            texts: Vec::new(),
            missing: 0,
        }
    }

    /// Adds the next path; `wanted` is its name if it is wanted. False if the id is none
    /// that the database gives.
    fn add(&mut self, id: i64, wanted: Option<StorePath>) -> bool {
        let slot = usize::try_from(id).ok().filter(|&id| id > 0);
        let Some(slot) = slot.and_then(|id| self.by_id.get_mut(id)) else {
            return false;
        };
        let need = if wanted.is_some() {
            self.missing += 1;
            Need::Row
        } else {
            Need::Nothing
        };
        self.needs.push(need);
        self.places.push(Place {
            row: NO_ROW,
            first_reference: 0,
            end_of_references: 0,
        });
        self.paths.push(wanted);
        *slot = small(self.places.len());
        true
    }

    fn place(&self, id: i64) -> Option<usize> {
        let index = usize::try_from(id).ok()?;
        (*self.by_id.get(index)? as usize).checked_sub(1)
    }

    fn is_wanted(&self, place: usize) -> bool {
        self.needs[place] == Need::Row
    }

    /// Adds a reference; those of one referrer must come together. False if there is no
    /// such path, or no room.
    fn refer(&mut self, referrer: usize, id: i64) -> bool {
        let Some(place) = self.place(id) else {
            return false;
        };
        if self.size() > MOST_BYTES {
            return false;
        }
        let need = &mut self.needs[place];
        if *need == Need::Nothing {
            *need = Need::Name;
            self.missing += 1;
        }
        let referrer = &mut self.places[referrer];
        if referrer.end_of_references == 0 {
            referrer.first_reference = small(self.references.len());
        }
        self.references.push(small(place));
        referrer.end_of_references = small(self.references.len());
        true
    }

    fn name(&mut self, place: usize, path: StorePath) {
        self.paths[place] = Some(path);
        self.needs[place] = Need::Nothing;
        self.missing -= 1;
    }

    fn save(&mut self, place: usize, raw: &RawInfo<'_>) {
        let texts = [raw.hash, raw.deriver, raw.sigs, raw.ca];
        self.needs[place] = Need::Nothing;
        self.places[place].row = small(self.rows.len());
        self.missing -= 1;
        self.rows.push(SavedRow {
            registration_time: raw.registration_time,
            nar_size: raw.nar_size,
            ultimate: raw.ultimate,
            start: self.texts.len(),
            lens: texts.map(|text| small(text.len())),
        });
        for text in texts {
            self.texts.extend_from_slice(text);
        }
    }

    /// Reads a little of all that these places lead to.
    ///
    /// What lies far apart in memory takes long to come, and while the count of a path's
    /// clones changes nothing else is asked for. These reads, though, overlap.
    fn touch(&self, places: Range<usize>) {
        let mut sum = 0;
        for place in &self.places[places] {
            for &reference in &self.references[place.references()] {
                if let Some(path) = &self.paths[reference as usize] {
                    sum ^= path.name().as_str().as_bytes()[0];
                }
            }
            if let Some(row) = self.rows.get(place.row as usize) {
                sum ^= self.texts.get(row.start).copied().unwrap_or_default();
            }
        }
        black_box(sum);
    }

    /// The path and the row of a place, if it is a wanted one.
    fn wanted(&self, place: usize) -> Option<(StorePath, RawInfo<'_>)> {
        let row = self.rows.get(self.places[place].row as usize)?;
        let path = self.paths[place].clone()?;
        Some((path, row.raw(&self.texts)))
    }

    fn references_of(&mut self, place: usize) -> StorePathSet {
        let references = &mut self.references[self.places[place].references()];
        // Places are in the order of paths, which are longer to compare.
        references.sort_unstable();
        let mut paths = Vec::with_capacity(references.len());
        for &reference in references.iter() {
            paths.extend(self.paths[reference as usize].clone());
        }
        paths.into_iter().collect()
    }

    /// Bytes that what was found in rows takes.
    fn size(&self) -> usize {
        self.references.len() * 4 + self.rows.len() * size_of::<SavedRow>() + self.texts.len()
    }
}

/// A row without its path.
#[derive(Debug)]
struct SavedRow {
    registration_time: i64,
    nar_size: i64,
    ultimate: bool,
    /// Where its texts start.
    start: usize,
    /// The lengths of hash, deriver, signatures and content address, which follow one
    /// another.
    lens: [u32; 4],
}

impl SavedRow {
    fn raw<'r>(&self, texts: &'r [u8]) -> RawInfo<'r> {
        let mut rest = &texts[self.start..];
        let [hash, deriver, sigs, ca] = self.lens.map(|len| {
            let (text, after) = rest.split_at(len as usize);
            rest = after;
            text
        });
        RawInfo {
            hash,
            registration_time: self.registration_time,
            deriver,
            nar_size: self.nar_size,
            ultimate: self.ultimate,
            sigs,
            ca,
        }
    }
}

/// An index or length, none of which exceeds 32 bits: [`MOST_BYTES`] and
/// [`MOST_WANTED`] bound the collections, and SQLite the values.
fn small(number: usize) -> u32 {
    u32::try_from(number).expect("sizes are bounded far below 4 GiB")
}

/// More are looked up in batches, so that a request stays within its memory.
const MOST_WANTED: usize = 1 << 18;
/// A walk is worth it up to so many valid paths for each wanted one.
const MOST_PER_WANTED: usize = 4;
/// Ids up to this one are kept in a table, of 4 bytes each.
const LARGEST_ID: usize = 1 << 23;
/// Most bytes of rows and references to keep in memory.
const MOST_BYTES: usize = 80 << 20;

/// The row of a path that isn't wanted.
const NO_ROW: u32 = u32::MAX;
/// Places that are read ahead.
const BLOCK: usize = 32;
/// SQLite's page cache during a walk, which sees each page once; negative means KiB.
const BULK_CACHE_KIB: i64 = -1024;

const PATHS_IN_ORDER: &str = "select path, id from ValidPaths order by path";
const REFERENCES_IN_ORDER: &str =
    "select referrer, reference from Refs order by referrer, reference";
/// The columns are those of `INFOS_FROM`.
const ROWS_IN_ORDER: &str = "select path, id, hash, registrationTime, deriver, narSize, ultimate, \
     sigs, ca from ValidPaths order by id";
