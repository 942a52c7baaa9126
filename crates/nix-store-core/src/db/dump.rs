//! The registrations of all paths as texts, for those who only pass them on.
//!
//! Nothing is turned into paths and sets on the way: what a row says is checked, and kept as
//! the bytes that it is.

use std::ops::Range;

use nix_base::NarHash;
use rusqlite::Connection;

use super::Db;
use super::busy::Explain;
use super::places::Places;
use super::scan::READ;
use crate::error::{Error, Result};

/// The registrations of all valid paths.
#[derive(Debug, Default)]
pub struct Registrations {
    /// In the order of their ids.
    rows: Vec<Row>,
    /// The texts of the rows, one behind the other.
    texts: Vec<u8>,
    /// Indices of rows, in the order of the paths.
    order: Vec<u32>,
    /// By index of a row: its place in that order.
    ranks: Vec<u32>,
    /// The references of all rows, as places in that order.
    references: Vec<u32>,
}

#[derive(Debug)]
struct Row {
    id: i64,
    nar_size: u64,
    start: usize,
    path_len: u32,
    deriver_len: u32,
    first_reference: u32,
    end_of_references: u32,
}

/// What is registered for one path.
#[derive(Debug, Clone, Copy)]
pub struct RegistrationText<'r> {
    all: &'r Registrations,
    row: &'r Row,
}

impl Db {
    /// Reads the registrations of all valid paths.
    ///
    /// # Errors
    /// The database can't be read, or has values that can't be understood.
    pub fn read_registrations(&self) -> Result<Registrations> {
        self.read_transaction(|conn| {
            let mut all = Registrations::default();
            self.dump_rows(conn, &mut all)?;
            all.sort();
            self.dump_references(conn, &mut all)?;
            Ok(all)
        })
    }

    fn dump_rows(&self, conn: &Connection, all: &mut Registrations) -> Result<()> {
        let mut statement = self.prepare(conn, ROWS)?;
        let mut rows = statement.query([]).explain(self, READ)?;
        while let Some(row) = self.next(&mut rows)? {
            let start = all.texts.len();
            let path = self.text(row, 1)?;
            let corrupt = |column, error| self.corrupt(column, path, error);
            self.store_dir
                .parse(path)
                .map_err(|error| corrupt("path", error))?;
            let deriver = self.text(row, 3)?;
            if !deriver.is_empty() {
                self.store_dir
                    .parse(deriver)
                    .map_err(|error| corrupt("deriver", error))?;
            }
            let nar_size = self.integer(row, 4)?;
            let nar_size =
                u64::try_from(nar_size).map_err(|error| self.corrupt("narSize", path, error))?;
            all.texts.extend_from_slice(path);
            all.texts.extend_from_slice(deriver);
            self.dump_hash(self.text(row, 2)?, path, &mut all.texts)?;
            all.rows.push(Row {
                id: self.integer(row, 0)?,
                nar_size,
                start,
                path_len: small(path.len()),
                deriver_len: small(deriver.len()),
                first_reference: 0,
                end_of_references: 0,
            });
        }
        Ok(())
    }

    /// Appends the hash in base 16.
    fn dump_hash(&self, text: &[u8], path: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if let Some(digits) = text.strip_prefix(b"sha256:")
            && digits.len() == HASH_LEN
            && digits.iter().all(is_digit)
        {
            out.extend_from_slice(digits);
            return Ok(());
        }
        let text = std::str::from_utf8(text).map_err(|error| self.corrupt("hash", path, error))?;
        let hash = NarHash::parse_any(text).map_err(|error| self.corrupt("hash", path, error))?;
        out.extend_from_slice(hash.to_base16().as_bytes());
        Ok(())
    }

    fn dump_references(&self, conn: &Connection, all: &mut Registrations) -> Result<()> {
        let mut statement = self.prepare(conn, REFERENCES)?;
        let mut rows = statement.query([]).explain(self, READ)?;
        let places = Places::new(all.rows.iter().map(|row| row.id));
        let mut referrer = 0;
        while let Some(row) = self.next(&mut rows)? {
            let (from, to) = (self.integer(row, 0)?, self.integer(row, 1)?);
            while all.rows.get(referrer).is_some_and(|row| row.id < from) {
                referrer += 1;
            }
            let Some(row) = all.rows.get_mut(referrer).filter(|row| row.id == from) else {
                continue;
            };
            if row.end_of_references == 0 {
                row.first_reference = small(all.references.len());
            }
            let Some(index) = places.find(to) else {
                let path = self.file.clone();
                return Err(Error::DanglingReference { path, id: to });
            };
            all.references.push(all.ranks[index as usize]);
            row.end_of_references = small(all.references.len());
        }
        for row in &all.rows {
            all.references[row.references()].sort_unstable();
        }
        Ok(())
    }
}

impl Row {
    fn references(&self) -> Range<usize> {
        self.first_reference as usize..self.end_of_references as usize
    }
}

impl Registrations {
    /// All of them, in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = RegistrationText<'_>> {
        self.order.iter().map(|&index| self.text(index))
    }

    fn text(&self, index: u32) -> RegistrationText<'_> {
        RegistrationText {
            all: self,
            row: &self.rows[index as usize],
        }
    }

    fn path(&self, index: usize) -> &[u8] {
        let row = &self.rows[index];
        &self.texts[row.start..row.start + row.path_len as usize]
    }

    fn sort(&mut self) {
        // Mostly, the first digits of a path's hash decide; they are at the same place in all.
        let shared = self.rows.first().map_or(0, |_| shared_prefix(self));
        let mut keyed: Vec<(u64, u32)> = (0..self.rows.len())
            .map(|index| (key(&self.path(index)[shared..]), small(index)))
            .collect();
        keyed.sort_unstable_by(|a, b| {
            let paths = || self.path(a.1 as usize).cmp(self.path(b.1 as usize));
            a.0.cmp(&b.0).then_with(paths)
        });
        self.ranks = vec![0; keyed.len()];
        for (rank, &(_, index)) in (0..).zip(&keyed) {
            self.ranks[index as usize] = rank;
        }
        self.order = keyed.into_iter().map(|(_, index)| index).collect();
    }
}

/// How many bytes all paths begin with: the store directory.
fn shared_prefix(all: &Registrations) -> usize {
    let first = all.path(0);
    let dir_len = first
        .iter()
        .rposition(|&b| b == b'/')
        .map_or(0, |at| at + 1);
    let dir = &first[..dir_len];
    match (1..all.rows.len()).all(|index| all.path(index).starts_with(dir)) {
        true => dir_len,
        false => 0,
    }
}

/// The first bytes of `text` as a number that orders as they do.
fn key(text: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = text.len().min(bytes.len());
    bytes[..len].copy_from_slice(&text[..len]);
    u64::from_be_bytes(bytes)
}

impl<'r> RegistrationText<'r> {
    /// The full path.
    #[must_use]
    pub fn path(&self) -> &'r [u8] {
        self.slice(0, self.row.path_len as usize)
    }

    /// The full path of the deriver; empty if it isn't known.
    #[must_use]
    pub fn deriver(&self) -> &'r [u8] {
        self.slice(self.row.path_len as usize, self.row.deriver_len as usize)
    }

    /// The hash of the archive in base 16.
    #[must_use]
    pub fn hash(&self) -> &'r [u8] {
        let before = self.row.path_len as usize + self.row.deriver_len as usize;
        self.slice(before, HASH_LEN)
    }

    /// The size of the archive; 0 if it isn't known.
    #[must_use]
    pub fn nar_size(&self) -> u64 {
        self.row.nar_size
    }

    /// The full paths that it refers to, in their order.
    pub fn references(&self) -> impl ExactSizeIterator<Item = &'r [u8]> + use<'r> {
        let all = self.all;
        all.references[self.row.references()]
            .iter()
            .map(|&rank| all.path(all.order[rank as usize] as usize))
    }

    fn slice(&self, start: usize, len: usize) -> &'r [u8] {
        let start = self.row.start + start;
        &self.all.texts[start..start + len]
    }
}

/// A count of rows or bytes of one. SQLite bounds the values, and there are never billions
/// of rows.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Digits of a hash.
const HASH_LEN: usize = 64;

const ROWS: &str = "select id, path, hash, deriver, narSize from ValidPaths order by id";
const REFERENCES: &str = "select referrer, reference from Refs order by referrer, reference";
