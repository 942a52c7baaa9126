//! Which key may see which path.

use std::collections::BTreeMap;

use nix_base::{StorePath, StorePathSet};
use rusqlite::{CachedStatement, Connection, params};

use super::{TrustDb, find_key, key_id};
use crate::db::{Db, Registered};
use crate::error::Result;

/// Whether a path counts towards what a key stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// By the size of its archive: the key brought or built it.
    Size,
    /// It doesn't: it was there anyway.
    Nothing,
}

impl TrustDb {
    /// Lets `key` see those of `paths` that are valid in `store`, until they become
    /// invalid.
    ///
    /// # Errors
    /// Those of both databases.
    pub fn grant(&self, key: &str, store: &Db, paths: &StorePathSet, charge: Charge) -> Result<()> {
        let registered = registrations(store, paths)?;
        // What is granted already is asked for again with every repeated request.
        if registered.is_empty() || self.is_granted(key, &registered, charge)? {
            return Ok(());
        }
        self.write("grant paths in", |conn| {
            let key = key_id(conn, key)?;
            let (mut find, mut put) = (FindView::new(conn)?, conn.prepare_cached(PUT_VIEW)?);
            let mut change = 0_i64;
            for (path, registered) in &registered {
                let before = find.of(key, path)?;
                let same = before.filter(|view| view.registered == registered.id);
                let charged = match charge {
                    Charge::Size => registered.nar_size,
                    Charge::Nothing => same.map_or(0, |view| view.charged),
                };
                put.execute(params![key, path.base_name(), registered.id, charged])?;
                let before = before.map_or(0, |view| view.charged);
                change = change.saturating_add(charged).saturating_sub(before);
            }
            conn.prepare_cached(ADD_STORED)?
                .execute(params![key, change])?;
            Ok(())
        })
    }

    fn is_granted(
        &self,
        key: &str,
        registered: &[(&StorePath, Registered)],
        charge: Charge,
    ) -> Result<bool> {
        self.read(|conn| {
            let Some(key) = find_key(conn, key)? else {
                return Ok(false);
            };
            let mut find = FindView::new(conn)?;
            for (path, registered) in registered {
                let is_same = find.of(key, path)?.is_some_and(|view| {
                    view.registered == registered.id
                        && (charge == Charge::Nothing || view.charged == registered.nar_size)
                });
                if !is_same {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Those of `paths` that `key` may see; they are valid.
    ///
    /// # Errors
    /// Those of both databases.
    pub fn visible(&self, key: &str, store: &Db, paths: &StorePathSet) -> Result<StorePathSet> {
        let registered = registrations(store, paths)?;
        if registered.is_empty() {
            return Ok(StorePathSet::new());
        }
        self.read(|conn| {
            let mut visible = Vec::new();
            if let Some(key) = find_key(conn, key)? {
                let mut find = FindView::new(conn)?;
                for (path, registered) in registered {
                    let view = find.of(key, path)?;
                    if view.is_some_and(|view| view.registered == registered.id) {
                        visible.push(path.clone());
                    }
                }
            }
            Ok(visible.into_iter().collect())
        })
    }

    /// All paths that `key` may see; they are valid.
    ///
    /// # Errors
    /// Those of both databases.
    pub fn all_visible(&self, key: &str, store: &Db) -> Result<StorePathSet> {
        let granted = self.granted(key)?.into_keys().collect();
        self.visible(key, store, &granted)
    }

    /// Forgets paths of `key` that are no longer valid as they were when they were
    /// granted, so that they don't count any more.
    ///
    /// # Errors
    /// Those of both databases.
    pub fn release_gone(&self, key: &str, store: &Db) -> Result<()> {
        let mut gone = self.granted(key)?;
        let paths = gone.keys().cloned().collect();
        store.registrations(&paths, |path, registered| {
            if gone.get(path) == Some(&registered.id) {
                gone.remove(path);
            }
        })?;
        if gone.is_empty() {
            return Ok(());
        }
        self.write("release paths in", |conn| {
            let key = key_id(conn, key)?;
            let (mut find, mut forget) = (FindView::new(conn)?, conn.prepare_cached(DROP_VIEW)?);
            let mut freed = 0_i64;
            for (path, id) in &gone {
                let view = find.of(key, path)?;
                // It may have been granted again meanwhile.
                let Some(view) = view.filter(|view| view.registered == *id) else {
                    continue;
                };
                freed = freed.saturating_add(view.charged);
                forget.execute(params![key, path.base_name()])?;
            }
            conn.prepare_cached(ADD_STORED)?
                .execute(params![key, -freed])?;
            Ok(())
        })
    }

    /// All paths that were granted to `key`, whether they are still valid or not, with
    /// the numbers of their registrations.
    fn granted(&self, key: &str) -> Result<BTreeMap<StorePath, i64>> {
        self.read(|conn| {
            let mut paths = Vec::new();
            if let Some(key) = find_key(conn, key)? {
                let mut all = conn.prepare_cached(ALL_VIEWS)?;
                let mut rows = all.query([key])?;
                while let Some(row) = rows.next()? {
                    // What isn't a path can't be seen.
                    if let Ok(path) = row.get_ref(0)?.as_str()?.parse() {
                        paths.push((path, row.get(1)?));
                    }
                }
            }
            Ok(paths.into_iter().collect())
        })
    }
}

/// A row of the table.
#[derive(Clone, Copy)]
struct View {
    registered: i64,
    charged: i64,
}

/// Looks up one row after the other: taking the statement out of its cache for each would
/// take longer than the rest.
struct FindView<'c>(CachedStatement<'c>);

impl<'c> FindView<'c> {
    fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached(FIND_VIEW).map(Self)
    }

    fn of(&mut self, key: i64, path: &StorePath) -> rusqlite::Result<Option<View>> {
        let mut rows = self.0.query(params![key, path.base_name()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        Ok(Some(View {
            registered: row.get(0)?,
            charged: row.get(1)?,
        }))
    }
}

fn registrations<'p>(
    store: &Db,
    paths: &'p StorePathSet,
) -> Result<Vec<(&'p StorePath, Registered)>> {
    let mut found = Vec::new();
    store.registrations(paths, |path, registered| found.push((path, registered)))?;
    Ok(found)
}

const FIND_VIEW: &str = "select registered, charged from Views where key = ?1 and path = ?2";
const PUT_VIEW: &str = "insert or replace into Views (key, path, registered, charged) \
     values (?1, ?2, ?3, ?4)";
const DROP_VIEW: &str = "delete from Views where key = ?1 and path = ?2";
const ALL_VIEWS: &str = "select path, registered from Views where key = ?1 order by path";
const ADD_STORED: &str = "update Keys set storedBytes = max(0, storedBytes + ?2) where id = ?1";
