//! Taking into the store what lies in its directory already.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use nix_base::{HashingWriter, StorePathSet, ValidPathInfo};

use super::{Canonicaliser, LocalStore};
use crate::error::{Error, Result};

/// Whether hash and size of objects are found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// They are known.
    No,
    /// By reading them.
    Yes,
}

impl LocalStore {
    /// Makes the metadata of what lies at these paths canonical, and the paths valid, all or
    /// none, as `nix-store --register-validity` does.
    ///
    /// # Errors
    /// An object that is missing or can't be in a store; those of
    /// [`register_present`](Self::register_present).
    pub fn adopt(&self, mut infos: Vec<ValidPathInfo>, measure: Measure) -> Result<()> {
        self.require_writable("register paths")?;
        let paths: StorePathSet = infos.iter().map(|info| info.path.clone()).collect();
        self.add_temp_roots(&paths)?;
        let names: BTreeSet<String> = paths.iter().map(ToString::to_string).collect();
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
