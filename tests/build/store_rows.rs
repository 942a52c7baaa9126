//! What a machine's store says of its valid paths.

use std::collections::{BTreeMap, BTreeSet};

use test_support::Machine;

/// All that is registered of a path but when and by whom it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) hash: String,
    pub(crate) size: i64,
    pub(crate) ca: String,
    pub(crate) deriver: String,
    pub(crate) is_ultimate: bool,
    pub(crate) references: BTreeSet<String>,
}

/// All valid paths.
pub(crate) fn rows(machine: &Machine) -> BTreeMap<String, Row> {
    let database = rusqlite::Connection::open(machine.path("nix/var/nix/db/db.sqlite")).unwrap();
    let mut references: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let mut query = database
        .prepare("select r.referrer, v.path from Refs r join ValidPaths v on v.id = r.reference")
        .unwrap();
    let pairs = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    for pair in pairs {
        let (referrer, path) = pair.unwrap();
        references.entry(referrer).or_default().insert(path);
    }
    let mut query = database
        .prepare("select id, path, hash, narSize, ca, deriver, ultimate from ValidPaths")
        .unwrap();
    query
        .query_map([], |row| {
            let row_references = references.remove(&row.get(0)?).unwrap_or_default();
            let text = |index: usize| {
                row.get::<_, Option<String>>(index)
                    .map(Option::unwrap_or_default)
            };
            Ok((
                row.get(1)?,
                Row {
                    hash: row.get(2)?,
                    size: row.get::<_, Option<i64>>(3)?.unwrap_or_default(),
                    ca: text(4)?,
                    deriver: text(5)?,
                    is_ultimate: row.get::<_, Option<bool>>(6)?.unwrap_or_default(),
                    references: row_references,
                },
            ))
        })
        .unwrap()
        .collect::<Result<_, rusqlite::Error>>()
        .unwrap()
}

/// The rows of these paths; a path that isn't valid has none.
pub(crate) fn rows_of<'a>(
    machine: &Machine,
    paths: impl IntoIterator<Item = &'a String>,
) -> BTreeMap<String, Row> {
    let mut all = rows(machine);
    paths
        .into_iter()
        .filter_map(|path| all.remove_entry(path))
        .collect()
}
