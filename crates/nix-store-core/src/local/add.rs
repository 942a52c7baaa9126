//! Adding objects from files and bytes: sources and texts.

use std::io::BufReader;
use std::path::Path;

use nix_base::store_path::make::References;
use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, NarHash, StorePath, StorePathName,
    StorePathSet, UnkeyedValidPathInfo, ValidPathInfo,
};

use super::LocalStore;
use super::import::ImportBatch;
use crate::error::{Error, Result};

impl LocalStore {
    /// Adds the tree at `source` under `name`, addressed by the SHA-256 of its NAR, as
    /// `nix-store --add` does. The source is read once.
    ///
    /// # Errors
    /// A source that can't be read or archived; failing disk or database.
    pub fn add_source(&self, source: &Path, name: &StorePathName) -> Result<StorePath> {
        self.require_writable("add to the store")?;
        let batch = ImportBatch::new(self);
        let (reader, mut writer) =
            std::io::pipe().map_err(|error| Error::io("make a pipe to read", source, error))?;
        let (dumped, unpacked) = std::thread::scope(|scope| {
            let dump = scope.spawn(move || nix_nar::fs::dump::dump(source, &mut writer));
            let unpacked = batch.unpack(&mut BufReader::with_capacity(PIPE_BUFFER, reader));
            (dump.join(), unpacked)
        });
        // A failed dump ends the stream early: its own error says more.
        dumped
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(|cause| Error::Tree {
                action: "read",
                path: source.to_owned(),
                source: cause,
            })?;
        let object = unpacked?;
        let ca = ContentAddress {
            method: ContentAddressMethod::NixArchive,
            hash: object.nar_hash().into(),
        };
        let info = self.content_addressed_info(ca, name, StorePathSet::new())?;
        let path = info.path.clone();
        batch.name(object, info)?;
        batch.commit().failure.map_or(Ok(path), Err)
    }

    /// Adds a text file with `references`, addressed as `builtins.toFile` and `.drv` files
    /// are.
    ///
    /// # Errors
    /// A reference that isn't valid; failing disk or database.
    pub fn add_text(
        &self,
        contents: &[u8],
        references: StorePathSet,
        name: &StorePathName,
    ) -> Result<StorePath> {
        self.require_writable("add to the store")?;
        let ca = ContentAddress {
            method: ContentAddressMethod::Text,
            hash: Hash::of(HashAlgo::Sha256, contents),
        };
        let info = self.content_addressed_info(ca, name, references)?;
        let path = info.path.clone();
        let mut nar = Vec::new();
        nix_nar::write_regular(contents, false, &mut nar).map_err(|source| Error::Archive {
            action: "write",
            source,
        })?;
        let batch = ImportBatch::new(self);
        let object = batch.unpack(&mut nar.as_slice())?;
        batch.name(object, info)?;
        batch.commit().failure.map_or(Ok(path), Err)
    }

    fn content_addressed_info(
        &self,
        ca: ContentAddress,
        name: &StorePathName,
        references: StorePathSet,
    ) -> Result<ValidPathInfo> {
        let split = References {
            others: references.clone(),
            to_self: false,
        };
        let path = ca
            .path(self.store_dir(), &split, name)
            .map_err(|source| Error::NoPath {
                name: name.clone(),
                source,
            })?;
        let mut info = UnkeyedValidPathInfo::new(NarHash::from_bytes([0; 32]), 0);
        info.references = references;
        info.ca = Some(ca);
        Ok(ValidPathInfo { path, info })
    }
}

/// As much as a pipe holds by default.
const PIPE_BUFFER: usize = 64 * 1024;
