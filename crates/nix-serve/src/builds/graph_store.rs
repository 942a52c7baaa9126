//! The local store as schedulers ask it.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use nix_base::{DrvOutput, NarHash, Realisation, StoreDir, StorePath, StorePathSet};
use nix_build::goal::{GraphStore, StoreError};
use nix_drv::{Derivation, Strictness};
use nix_store_core::{LocalStore, Lock, Store, StoreConfig};

use super::graph_view::GraphView;

/// A connection to the store, for one thread.
#[derive(Debug)]
pub(crate) struct StoreOfGraphs {
    store: LocalStore,
    view: Option<Arc<GraphView>>,
}

impl StoreOfGraphs {
    /// Opens the store.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn open(config: StoreConfig) -> nix_store_core::Result<Self> {
        let store = LocalStore::open(config)?;
        Ok(Self { store, view: None })
    }

    /// The store as somebody sees it who doesn't see everything.
    pub(super) fn seen_by(self, view: Option<Arc<GraphView>>) -> Self {
        Self { view, ..self }
    }

    /// The store itself.
    pub(crate) fn store(&self) -> &LocalStore {
        &self.store
    }
}

impl GraphStore for StoreOfGraphs {
    fn store_dir(&self) -> &StoreDir {
        self.store.store_dir()
    }

    fn read_derivation(&self, path: &StorePath) -> Result<Option<Vec<u8>>, StoreError> {
        if self.store.is_read_only() {
            if !self.store.is_valid(path)? {
                return Ok(None);
            }
        } else if !self.is_valid_and_kept(path)? {
            return Ok(None);
        }
        let text = read_derivation_file(&self.store, path)?;
        self.check_text(path, &text)?;
        Ok(Some(text))
    }

    fn valid_paths(&self, paths: &StorePathSet) -> Result<StorePathSet, StoreError> {
        let lock = match self.store.is_read_only() {
            true => Lock::No,
            false => Lock::Yes,
        };
        let mut valid = self.store.query_valid_paths(paths, lock)?;
        if let Some(view) = &self.view {
            view.keep_seen(&mut valid);
        }
        Ok(valid)
    }

    fn find_realisation(&self, id: &DrvOutput) -> Result<Option<StorePath>, StoreError> {
        let found = self.store.db().query_realisation(id)?;
        let found = found.map(|(path, _)| path);
        let is_seen = |path: &StorePath| self.view.as_ref().is_none_or(|v| v.has_built(path));
        Ok(found.filter(is_seen))
    }

    fn add_realisation(&self, realisation: &Realisation) -> Result<(), StoreError> {
        let realisations = std::slice::from_ref(realisation);
        Ok(self.store.db().register_realisations(realisations)?)
    }

    fn add_derivation(&self, drv: &Derivation) -> Result<StorePath, StoreError> {
        let text = drv.to_aterm(self.store.store_dir())?;
        let path = drv.store_path(self.store.store_dir())?;
        Ok(self.store.add_text(&text, drv.references(), path.name())?)
    }
}

impl StoreOfGraphs {
    /// A derivation that isn't what was registered isn't built, whoever changed it. One that
    /// can't even be parsed has better words coming.
    fn check_text(&self, path: &StorePath, text: &[u8]) -> Result<(), StoreError> {
        let Some(info) = self.store.query_path_info(path)? else {
            return Ok(());
        };
        let mut nar = Vec::with_capacity(text.len() + NAR_FRAME);
        nix_nar::write_regular(text, false, &mut nar)?;
        let found = NarHash::of(&nar);
        let dir = self.store.store_dir();
        if found == info.nar_hash
            || Derivation::parse_file(text, dir, path, Strictness::Lenient).is_err()
        {
            return Ok(());
        }
        // Nix compat: the words of its verification.
        Err(format!(
            "path '{}' was modified! expected hash '{}', got '{found}'",
            dir.display(path),
            info.nar_hash
        )
        .into())
    }

    fn is_valid_and_kept(&self, path: &StorePath) -> Result<bool, StoreError> {
        let paths = StorePathSet::from([path.clone()]);
        Ok(!self.store.query_valid_paths(&paths, Lock::Yes)?.is_empty())
    }
}

/// The text of a `.drv` file.
///
/// # Errors
/// It can't be read, or is larger than any derivation.
pub(crate) fn read_derivation_file(
    store: &LocalStore,
    path: &StorePath,
) -> Result<Vec<u8>, StoreError> {
    let explain =
        |source| nix_store_core::Error::io("read", &store.layout().real_path(path), source);
    let file = File::open(store.layout().real_path(path)).map_err(explain)?;
    let size = file.metadata().map_err(explain)?.len();
    // One byte more, so that the end is seen by the first read.
    let room = usize::try_from(size.min(MAX_ROOM)).unwrap_or_default() + 1;
    let mut text = Vec::with_capacity(room);
    file.take(MAX_DERIVATION)
        .read_to_end(&mut text)
        .map_err(explain)?;
    if text.len() as u64 == MAX_DERIVATION {
        return Err(explain(std::io::Error::other("more than 128 MiB")).into());
    }
    Ok(text)
}

/// Bytes of an archive of a file, besides the file's.
const NAR_FRAME: usize = 128;
/// Most bytes that are set aside before they are read.
const MAX_ROOM: u64 = 1 << 20;
const MAX_DERIVATION: u64 = 128 << 20;

#[cfg(test)]
mod tests;
