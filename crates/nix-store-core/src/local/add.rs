//! Adding objects from files and bytes: sources and texts.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use nix_base::store_path::make::References;
use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, HashSink, NarHash, StorePath,
    StorePathName, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo,
};

use nix_nar::NarWriter;

use super::LocalStore;
use super::import::ImportBatch;
use super::piped::{PIPE_BUFFER, Pipe, piped};
use crate::error::{Error, Result};

impl LocalStore {
    /// Adds the tree at `source` under `name`, addressed by the SHA-256 of its NAR, as
    /// `nix-store --add` does. The source is read once.
    ///
    /// # Errors
    /// A source that can't be read or archived; failing disk or database.
    pub fn add_source(&self, source: &Path, name: &StorePathName) -> Result<StorePath> {
        self.add_fixed(
            source,
            name,
            ContentAddressMethod::NixArchive,
            HashAlgo::Sha256,
        )
    }

    /// Adds what is at `source` under `name`, addressed by the hash of its NAR, or for
    /// [`ContentAddressMethod::Flat`] by that of the file's bytes, as `nix-store --add-fixed`
    /// does. The source is read once.
    ///
    /// # Errors
    /// A source that can't be read or archived, or isn't a file where a file is needed; a
    /// method that is neither of the two; failing disk or database.
    pub fn add_fixed(
        &self,
        source: &Path,
        name: &StorePathName,
        method: ContentAddressMethod,
        algo: HashAlgo,
    ) -> Result<StorePath> {
        self.require_writable("add to the store")?;
        let batch = ImportBatch::new(self);
        let is_known = method == ContentAddressMethod::NixArchive && algo == HashAlgo::Sha256;
        let dump = |pipe: &mut Pipe| match method {
            ContentAddressMethod::Flat => archive_file(source, algo, pipe).map(Some),
            _ if is_known => dump_tree(source, pipe).map(|()| None),
            _ => {
                let mut both = Hashed::new(algo, pipe);
                dump_tree(source, &mut both).map(|()| Some(both.hash.finish().0))
            }
        };
        let (hash, object) = piped(dump, |nar| batch.unpack(nar))
            .map_err(|error| Error::io("make a pipe to read", source, error))??;
        let ca = ContentAddress {
            method,
            hash: hash.unwrap_or_else(|| object.nar_hash().into()),
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

fn dump_tree(source: &Path, out: &mut impl Write) -> Result<()> {
    nix_nar::fs::dump::dump(source, out)
        .map(drop)
        .map_err(|cause| unreadable(source, cause))
}

/// Writes a file as an archive, and gives the hash of its bytes.
fn archive_file(source: &Path, algo: HashAlgo, out: &mut impl Write) -> Result<Hash> {
    let explain = |error| Error::io("read", source, error);
    let found = source.symlink_metadata().map_err(explain)?;
    if !found.is_file() {
        return Err(Error::NotARegularFile {
            path: source.to_owned(),
        });
    }
    let mut file = File::open(source).map_err(explain)?;
    let size = file.metadata().map_err(explain)?.len();
    let mut hash = HashSink::new(algo);
    let mut archive = NarWriter::new(out);
    let written = |cause| unreadable(source, cause);
    // Nix compat: executable or not, it isn't in the store.
    archive.regular(b"", false, size).map_err(written)?;
    let mut block = vec![0; PIPE_BUFFER];
    loop {
        let count = match file.read(&mut block) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.map_err(explain)?,
        };
        hash.write_all(&block[..count]).map_err(explain)?;
        archive.contents(&block[..count]).map_err(written)?;
    }
    archive.finish().map_err(written)?;
    Ok(hash.finish().0)
}

fn unreadable(source: &Path, cause: nix_nar::Error) -> Error {
    Error::Tree {
        action: "read",
        path: source.to_owned(),
        source: cause,
    }
}

/// A writer that hashes what passes.
struct Hashed<W> {
    hash: HashSink,
    out: W,
}

impl<W> Hashed<W> {
    fn new(algo: HashAlgo, out: W) -> Self {
        let hash = HashSink::new(algo);
        Self { hash, out }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(data)?;
        self.hash.write_all(&data[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
