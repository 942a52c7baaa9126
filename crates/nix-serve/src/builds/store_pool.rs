//! Connections to the store that are between two builds.
//!
//! A build runs on a thread of its own and needs a connection of its own; opening one costs
//! more than all that a small build asks of it. What a connection keeps from collectors stays
//! kept until the pool is dropped: outputs stay locked for as long as their client may want
//! them.

use std::sync::{Mutex, PoisonError};

use nix_store_core::{LocalStore, Result, StoreConfig};

/// Connections to one store.
#[derive(Debug)]
pub(crate) struct StorePool {
    config: StoreConfig,
    idle: Mutex<Vec<LocalStore>>,
}

impl StorePool {
    /// No connections yet.
    pub(crate) fn new(config: StoreConfig) -> Self {
        Self {
            config,
            idle: Mutex::default(),
        }
    }

    /// How the store is opened.
    pub(crate) fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Does `work` with a connection that nobody else uses meanwhile.
    ///
    /// # Errors
    /// The store can't be opened.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&LocalStore) -> T) -> Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let store = match kept {
            Some(store) => store,
            None => LocalStore::open(self.config.clone())?,
        };
        let done = work(&store);
        // After a panic the connection is dropped with the rest.
        idle().push(store);
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix_base::StoreDir;
    use nix_store_core::StoreLayout;

    #[test]
    fn a_connection_is_used_again_and_never_by_two() {
        let root = tempfile::tempdir().unwrap();
        let mut config = StoreConfig::new(StoreLayout::chroot(StoreDir::default(), root.path()));
        config.create = true;
        config.build_users_group = None;
        let pool = StorePool::new(config);
        pool.with(|outer| {
            let inner = pool.with(|inner| std::ptr::eq(outer, inner)).unwrap();
            assert!(!inner);
        })
        .unwrap();
        assert_eq!(pool.idle.lock().unwrap().len(), 2);
        pool.with(|_| ()).unwrap();
        assert_eq!(pool.idle.lock().unwrap().len(), 2);
    }
}
