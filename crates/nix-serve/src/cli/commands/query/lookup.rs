//! The reference graph, as far as a query needs it.
//!
//! A few paths are looked up one by one. A query that reaches more of the store starts
//! again with all of it in memory: that takes one walk through each table.

use std::collections::BTreeMap;

use nix_base::StorePath;
use nix_store_core::db::StoreGraph;
use nix_store_core::{Error, LocalStore, Store};

/// Answers about paths, each named by a number.
pub(super) trait Lookup {
    /// The number of a path, if it is valid.
    fn find(&mut self, path: &StorePath) -> Result<Option<u32>, Fault>;

    /// The path of a number.
    fn path(&self, place: u32) -> &StorePath;

    /// Adds to `found` where the edges from `place` lead to, in the order of paths.
    fn follow(&mut self, edges: Edges, place: u32, found: &mut Vec<u32>) -> Result<(), Fault>;

    /// The size of the archive.
    fn nar_size(&mut self, place: u32) -> Result<u64, Fault>;

    /// Puts places in the order of their paths.
    fn sort(&self, places: &mut [u32]);
}

/// Ways from one path to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edges {
    /// To what it refers to.
    References,
    /// To what refers to it.
    Referrers,
    /// From a derivation to its valid outputs.
    Outputs,
    /// From an output to the valid derivations that make it.
    Derivers,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// So many look-ups are better done in memory.
    TooMany,
    /// Something is wrong.
    Failed(anyhow::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// What `question` finds, which is asked a second time if it needs much of the store.
pub(super) fn ask<T>(
    store: &LocalStore,
    question: impl Fn(&mut dyn Lookup) -> Result<T, Fault>,
) -> anyhow::Result<T> {
    let answer = match question(&mut Few::new(store)) {
        Err(Fault::TooMany) => question(&mut All(store.db().load_graph()?)),
        answer => answer,
    };
    answer.map_err(|fault| match fault {
        Fault::Failed(error) => error,
        Fault::TooMany => anyhow::anyhow!("the whole store is not enough for this query"),
    })
}

/// Paths looked up one by one.
pub(super) struct Few<'a> {
    store: &'a LocalStore,
    places: BTreeMap<StorePath, u32>,
    paths: Vec<StorePath>,
    /// What was looked up: a closure is walked once to find it and once to sort it.
    references: BTreeMap<u32, Vec<u32>>,
    lookups: usize,
}

impl<'a> Few<'a> {
    pub(super) fn new(store: &'a LocalStore) -> Self {
        Self {
            store,
            places: BTreeMap::new(),
            paths: Vec::new(),
            references: BTreeMap::new(),
            lookups: 0,
        }
    }

    fn count(&mut self) -> Result<(), Fault> {
        self.lookups += 1;
        match self.lookups > MOST_LOOKUPS {
            true => Err(Fault::TooMany),
            false => Ok(()),
        }
    }

    /// The number of a path that is valid.
    fn place(&mut self, path: StorePath) -> u32 {
        let next = self.paths.len();
        *self.places.entry(path).or_insert_with_key(|path| {
            self.paths.push(path.clone());
            u32::try_from(next).unwrap_or(u32::MAX)
        })
    }
}

impl Lookup for Few<'_> {
    fn find(&mut self, path: &StorePath) -> Result<Option<u32>, Fault> {
        if let Some(place) = self.places.get(path) {
            return Ok(Some(*place));
        }
        self.count()?;
        let is_valid = self.store.is_valid(path)?;
        Ok(is_valid.then(|| self.place(path.clone())))
    }

    fn path(&self, place: u32) -> &StorePath {
        &self.paths[place as usize]
    }

    fn follow(&mut self, edges: Edges, place: u32, found: &mut Vec<u32>) -> Result<(), Fault> {
        let path = self.path(place).clone();
        if edges == Edges::Outputs && !path.is_derivation() {
            return Ok(());
        }
        if edges == Edges::References
            && let Some(known) = self.references.get(&place)
        {
            found.extend_from_slice(known);
            return Ok(());
        }
        self.count()?;
        match edges {
            Edges::References => {
                let paths = self.store.query_references(&path)?.into_iter();
                let places: Vec<u32> = paths.map(|path| self.place(path)).collect();
                found.extend_from_slice(&places);
                self.references.insert(place, places);
            }
            Edges::Referrers => {
                for path in self.store.query_referrers(&path)? {
                    found.push(self.place(path));
                }
            }
            Edges::Derivers => {
                for path in self.store.query_valid_derivers(&path)? {
                    found.push(self.place(path));
                }
            }
            Edges::Outputs => {
                for (_, path) in self.store.query_derivation_outputs(&path)? {
                    found.extend(self.find(&path)?);
                }
            }
        }
        Ok(())
    }

    fn nar_size(&mut self, place: u32) -> Result<u64, Fault> {
        self.count()?;
        let info = self.store.query_path_info(self.path(place))?;
        Ok(info.map_or(0, |info| info.nar_size))
    }

    fn sort(&self, places: &mut [u32]) {
        places.sort_by(|&a, &b| self.path(a).cmp(self.path(b)));
    }
}

/// The whole store, whose places are in the order of the paths.
pub(super) struct All(pub(super) StoreGraph);

impl Lookup for All {
    fn find(&mut self, path: &StorePath) -> Result<Option<u32>, Fault> {
        Ok(self.0.find(path))
    }

    fn path(&self, place: u32) -> &StorePath {
        self.0.path(place)
    }

    fn follow(&mut self, edges: Edges, place: u32, found: &mut Vec<u32>) -> Result<(), Fault> {
        let start = found.len();
        found.extend_from_slice(match edges {
            Edges::References => self.0.references(place),
            Edges::Referrers => self.0.referrers(place),
            Edges::Outputs => self.0.outputs(place),
            Edges::Derivers => self.0.valid_derivers(place),
        });
        found[start..].sort_unstable();
        Ok(())
    }

    fn nar_size(&mut self, place: u32) -> Result<u64, Fault> {
        Ok(self.0.nar_size(place))
    }

    fn sort(&self, places: &mut [u32]) {
        places.sort_unstable();
    }
}

/// So many look-ups take some hundredths of a second, as a walk through a store of some ten
/// thousand paths does.
const MOST_LOOKUPS: usize = 2000;
