//! Taking into the store what lies in its directory already.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use nix_base::{HashingWriter, StorePathSet, ValidPathInfo};

use super::import::BATCH_PATHS;
use super::{Canonicaliser, LocalStore};
use crate::error::{Error, Result};
use crate::lock::{LockDir, PathLocks, Wait};

/// Whether hash and size of objects are found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// They are known.
    No,
    /// By reading them.
    Yes,
}

/// Whether paths that are valid already are registered once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reregister {
    /// They stay as they are.
    No,
    /// What is said of them now replaces what is recorded.
    Yes,
}

impl LocalStore {
    /// Makes the metadata of what lies at these paths canonical, and the paths valid, all or
    /// none, as `nix-store --register-validity` does.
    ///
    /// Meanwhile nobody else can put anything at these paths, unless they are more than
    /// [`BATCH_PATHS`](crate::BATCH_PATHS): each lock takes an open file.
    ///
    /// # Errors
    /// An object that is missing or can't be in a store; those of
    /// [`register_present`](Self::register_present).
    pub fn adopt(
        &self,
        mut infos: Vec<ValidPathInfo>,
        measure: Measure,
        reregister: Reregister,
    ) -> Result<()> {
        self.require_writable("register paths")?;
        let paths: StorePathSet = infos.iter().map(|info| info.path.clone()).collect();
        self.add_temp_roots(&paths)?;
        let locks = match paths.len() <= BATCH_PATHS {
            true => self.lock_to_register(&paths)?,
            false => None,
        };
        if reregister == Reregister::No {
            // Asked under the locks: whoever had one before may have made the path valid.
            let valid = self.db().query_valid(&paths)?;
            infos.retain(|info| !valid.contains(&info.path));
        }
        let adopted = self.adopt_locked(infos, measure);
        if let Some(mut locks) = locks {
            locks.request_removal();
        }
        adopted
    }

    fn lock_to_register(&self, paths: &StorePathSet) -> Result<Option<PathLocks>> {
        let names: Vec<String> = paths.iter().map(ToString::to_string).collect();
        LockDir::open(&self.layout().real_store)
            .and_then(|dir| dir.lock_all(names.iter().map(String::as_str), Wait::Forever))
            .map_err(|source| Error::lock("lock the paths to register", source))
    }

    fn adopt_locked(&self, mut infos: Vec<ValidPathInfo>, measure: Measure) -> Result<()> {
        let paths = infos.iter().map(|info| &info.path);
        let names: BTreeSet<String> = paths.map(ToString::to_string).collect();
        self.canonicalise_present(&names)?;
        if measure == Measure::Yes {
            for info in &mut infos {
                let mut sink = HashingWriter::new(std::io::sink());
                self.dump_object(&info.path, &mut sink)?;
                let (_, hash, size) = sink.finish();
                info.info.nar_hash = hash;
                info.info.nar_size = size;
            }
        }
        self.register_present(infos)
    }

    fn canonicalise_present(&self, names: &BTreeSet<String>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let private = self.private_dir()?;
        // Nix compat: whoever owns them.
        let mut canonicaliser = Canonicaliser::new(0..u32::MAX, &private);
        let store = &self.layout().real_store;
        let failed = |source| Error::Canonicalise { source };
        for name in names {
            let name = OsStr::new(name);
            canonicaliser
                .inspect(self.store_fd(), store, name)
                .map_err(failed)?;
        }
        for name in names {
            let name = OsStr::new(name);
            canonicaliser
                .apply(self.store_fd(), store, name)
                .map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
