//! Files of new outputs become links to files with the same contents, if the store is opened
//! so.

use std::path::Path;

use super::{LocalStore, NewOutput};
use crate::error::Result;
use crate::local::optimise::staged::{Deduplicator, NewLinks, Place};
use crate::local::private_dir::PrivateDir;

/// What is to be done when the outputs are valid.
pub(super) struct Sharing<'s> {
    store: &'s LocalStore,
    work: Option<(Deduplicator, PrivateDir)>,
    new: Vec<NewLinks>,
}

impl<'s> Sharing<'s> {
    /// Replaces files by links.
    pub(super) fn begin(store: &'s LocalStore, outputs: &[&NewOutput<'_>]) -> Result<Self> {
        let mut sharing = Self {
            store,
            work: None,
            new: Vec::new(),
        };
        if !store.config().auto_optimise || outputs.is_empty() {
            return Ok(sharing);
        }
        let deduplicator = Deduplicator::default();
        let private = store.private_dir()?;
        let links = store.layout().links_dir();
        for output in outputs {
            let place = place(&private, &links);
            let tree = (output.dir, output.name.as_os_str());
            let real = store.layout().real_path(&output.info.path);
            sharing
                .new
                .push(deduplicator.join(place, tree, &real, output.info.nar_hash));
        }
        sharing.work = Some((deduplicator, private));
        Ok(sharing)
    }

    /// Lets others link to the files of the outputs, which are valid now.
    pub(super) fn publish(&self) {
        let Some((deduplicator, private)) = &self.work else {
            return;
        };
        let links = self.store.layout().links_dir();
        for new in &self.new {
            deduplicator.publish(place(private, &links), new);
        }
    }
}

fn place<'p>(private: &'p PrivateDir, links: &'p Path) -> Place<'p> {
    Place {
        private: private.fd(),
        path: private.path(),
        links,
    }
}
