//! Changes to what is registered.

use std::collections::BTreeSet;

use nix_base::{NarHash, Signature, StorePath};
use rusqlite::params;

use super::Db;
use super::busy::Explain;
use crate::error::{Error, FullPath, Result};

impl Db {
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
        self.add_all_signatures(&[(path, sigs)])
    }

    /// Adds signatures to those of many paths, or to none of them.
    ///
    /// # Errors
    /// One of the paths isn't valid.
    pub fn add_all_signatures(&self, of: &[(&StorePath, &BTreeSet<Signature>)]) -> Result<()> {
        self.write_transaction(SIGN, |conn| {
            for (path, sigs) in of {
                let mut all = self.signatures_within(conn, path)?;
                all.extend(sigs.iter().cloned());
                conn.prepare_cached(UPDATE_SIGS)
                    .and_then(|mut statement| {
                        statement.execute(params![self.store_dir.print(path), joined(&all)])
                    })
                    .explain(self, SIGN)?;
            }
            Ok(())
        })
    }

    /// Records hash and size of the archive of `path`, which must be valid.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) fn record_content(&self, path: &StorePath, hash: &NarHash, size: u64) -> Result<()> {
        let size = i64::try_from(size).map_err(|_| Error::TooLarge {
            field: "size",
            value: size,
            path: Box::new(FullPath::new(&self.store_dir, path)),
        })?;
        self.write_transaction(RECORD, |conn| {
            conn.prepare_cached(UPDATE_CONTENT)
                .and_then(|mut statement| {
                    let path = self.store_dir.print(path);
                    statement.execute(params![path, hash.to_prefixed_base16(), size])
                })
                .explain(self, RECORD)
                .map(drop)
        })
    }

    /// Notes that `path` was built here, and adds `sigs` to its signatures.
    ///
    /// # Errors
    /// `path` isn't valid.
    pub fn mark_built(&self, path: &StorePath, sigs: &BTreeSet<Signature>) -> Result<()> {
        self.write_transaction(MARK, |conn| {
            let mut all = self.signatures_within(conn, path)?;
            all.extend(sigs.iter().cloned());
            conn.prepare_cached(UPDATE_ULTIMATE)
                .and_then(|mut statement| {
                    statement.execute(params![self.store_dir.print(path), joined(&all)])
                })
                .explain(self, MARK)
                .map(drop)
        })
    }
}

pub(super) fn joined(sigs: &BTreeSet<Signature>) -> Option<String> {
    let sigs: Vec<&str> = sigs.iter().map(Signature::as_str).collect();
    Some(sigs.join(" ")).filter(|text| !text.is_empty())
}

const INVALIDATE: &str = "remove a path from";
const SIGN: &str = "store signatures in";
const MARK: &str = "mark a path as built in";
const RECORD: &str = "record a hash in";

const UPDATE_CONTENT: &str = "update ValidPaths set hash = ?2, narSize = ?3 where path = ?1";
const UPDATE_SIGS: &str = "update ValidPaths set sigs = ?2 where path = ?1";
const UPDATE_ULTIMATE: &str = "update ValidPaths set ultimate = 1, sigs = ?2 where path = ?1";
const DELETE_PATH: &str = "delete from ValidPaths where path = ?1";
