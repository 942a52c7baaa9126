//! Finding many paths in the sorted index in one pass, and reading columns.

use std::cmp::Ordering;
use std::error::Error as StdError;

use bstr::ByteSlice;
use nix_base::{StoreDir, StorePath};
use rusqlite::types::ValueRef;
use rusqlite::{Row, Rows, Statement};

use super::Db;
use super::busy::Explain;
use crate::error::{Error, Result};

impl Db {
    /// Calls `found` with the row of each wanted path that is valid, in order.
    ///
    /// The statement's first column must be the path, its one parameter the path to start
    /// at, and its order that of the paths. The rows are merged with the wanted paths;
    /// where these are far apart, the index is searched afresh instead of being walked. So
    /// a few paths cost a look-up each, and all paths cost one walk.
    pub(super) fn for_each_valid<'p>(
        &self,
        statement: &mut Statement<'_>,
        mut wanted: impl Iterator<Item = &'p StorePath>,
        mut found: impl FnMut(&'p StorePath, &Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(mut want) = wanted.next() else {
            return Ok(());
        };
        let mut text = String::new();
        print_into(&self.store_dir, want, &mut text);
        loop {
            let mut rows = statement.query([text.as_str()]).explain(self, READ)?;
            let mut unwanted = 0;
            while unwanted <= LONGEST_WALK {
                let Some(row) = rows.next().explain(self, READ)? else {
                    return Ok(());
                };
                let have = self.text(row, 0)?;
                let mut order = have.cmp(text.as_bytes());
                while order != Ordering::Less {
                    if order == Ordering::Equal {
                        found(want, row)?;
                        unwanted = 0;
                    }
                    let Some(next) = wanted.next() else {
                        return Ok(());
                    };
                    want = next;
                    print_into(&self.store_dir, want, &mut text);
                    if order == Ordering::Equal {
                        break;
                    }
                    order = have.cmp(text.as_bytes());
                }
                unwanted += u32::from(order == Ordering::Less);
            }
        }
    }

    /// The next row of a read.
    pub(super) fn next<'r, 's>(&self, rows: &'r mut Rows<'s>) -> Result<Option<&'r Row<'s>>> {
        rows.next().explain(self, READ)
    }

    /// The bytes of a text column, without copying them; NULL counts as empty.
    pub(super) fn text<'r>(&self, row: &'r Row<'_>, column: usize) -> Result<&'r [u8]> {
        match row.get_ref(column).explain(self, READ)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(bytes),
            ValueRef::Null => Ok(&[]),
            other => self.wrong_type(column, &other),
        }
    }

    /// An integer column; NULL counts as 0.
    pub(super) fn integer(&self, row: &Row<'_>, column: usize) -> Result<i64> {
        match row.get_ref(column).explain(self, READ)? {
            ValueRef::Integer(number) => Ok(number),
            ValueRef::Null => Ok(0),
            other => self.wrong_type(column, &other),
        }
    }

    fn wrong_type<T>(&self, column: usize, value: &ValueRef<'_>) -> Result<T> {
        let name = format!("column {column}");
        let error = rusqlite::Error::InvalidColumnType(column, name, value.data_type());
        Err(error).explain(self, READ)
    }

    /// A column with a full path.
    pub(super) fn path(&self, row: &Row<'_>, column: usize) -> Result<StorePath> {
        let text = self.text(row, column)?;
        self.store_dir
            .parse(text)
            .map_err(|error| self.corrupt("path", text, error))
    }

    /// The error for a value in the row of `path` that can't be understood.
    pub(super) fn corrupt(
        &self,
        column: &'static str,
        path: impl AsRef<[u8]>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Error {
        Error::CorruptRow {
            path: self.file.clone(),
            column,
            row: path.as_ref().to_str_lossy().into_owned(),
            source: Box::new(source),
        }
    }
}

pub(super) fn print_into(store_dir: &StoreDir, path: &StorePath, text: &mut String) {
    text.clear();
    store_dir.append_to(path, text);
}

/// What a read does, for messages.
pub(super) const READ: &str = "read";
/// Rows passed over before the index is searched again; a search costs about as much as
/// ten steps.
const LONGEST_WALK: u32 = 8;
