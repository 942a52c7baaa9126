//! Export streams: several objects with their references, one after the other.

use std::io::{BufRead, Write};

use nix_base::{
    HashingWriter, NarHash, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo,
    references_first,
};
use nix_nar::export::{ExportReader, ExportTrailer, ExportWriter};

use super::LocalStore;
use super::import::{CommitOutcome, ImportBatch};
use crate::error::{Error, FullPath, Result};
use crate::store::Store;

impl LocalStore {
    /// The metadata of `paths`, references before what refers to them.
    ///
    /// # Errors
    /// One of them isn't valid; those of the database.
    pub fn infos_in_order(&self, paths: &StorePathSet) -> Result<Vec<ValidPathInfo>> {
        let mut infos = Vec::with_capacity(paths.len());
        self.query_path_infos(paths, &mut |info| {
            infos.push(info);
            Ok(())
        })?;
        let found = infos.iter().map(|info| &info.path);
        if let Some((missing, _)) = paths
            .iter()
            .zip(found.map(Some).chain(std::iter::repeat(None)))
            .find(|(path, found)| Some(*path) != *found)
        {
            return Err(Error::not_valid(self.store_dir(), missing));
        }
        references_first(infos).map_err(|cycle| {
            let path = Box::new(FullPath::new(self.store_dir(), &cycle.0));
            Error::ReferenceCycle {
                referrer: path.clone(),
                path,
            }
        })
    }

    /// Writes `paths` as an export stream, references first. Only these paths are written,
    /// not their closure.
    ///
    /// # Errors
    /// One of them isn't valid, or its content isn't what is registered: the stream ends in
    /// the middle then. Those of `out`.
    pub fn export_paths(&self, paths: &StorePathSet, out: impl Write) -> Result<()> {
        let mut stream = ExportWriter::new(out);
        for info in self.infos_in_order(paths)? {
            self.export_one(info, &mut stream)?;
        }
        stream.finish().map(drop).map_err(archive("export"))
    }

    fn export_one(&self, info: ValidPathInfo, stream: &mut ExportWriter<impl Write>) -> Result<()> {
        stream.begin_archive().map_err(archive("export"))?;
        let mut hashing = HashingWriter::new(stream.archive());
        self.dump_object(&info.path, &mut hashing)?;
        let (_, actual, _) = hashing.finish();
        if actual != info.nar_hash && !info.nar_hash.is_unknown() {
            return Err(Error::HashMismatch {
                path: Box::new(FullPath::new(self.store_dir(), &info.path)),
                expected: info.nar_hash,
                actual,
            });
        }
        let trailer = ExportTrailer {
            path: info.path,
            references: info.info.references,
            deriver: info.info.deriver,
        };
        stream
            .write_trailer(self.store_dir(), &trailer)
            .map_err(archive("export"))
    }
}

impl ImportBatch<'_> {
    /// Adds all objects of an export stream, in batches, and tells `added` the paths as they
    /// become valid. The stream carries no hashes: it is trusted as it is.
    ///
    /// # Errors
    /// A malformed stream; those of [`Self::name`]. What was reported to `added` stays.
    pub fn import_stream(
        &self,
        reader: &mut dyn BufRead,
        added: &mut dyn FnMut(&StorePath),
    ) -> Result<()> {
        let mut stream = ExportReader::new(reader);
        let mut staged = Vec::new();
        while stream.next_archive().map_err(archive("import"))? {
            let object = self.unpack(stream.archive())?;
            let trailer = stream
                .read_trailer(self.store_dir())
                .map_err(archive("import"))?;
            staged.push(trailer.path.clone());
            self.name(object, announced(trailer))?;
            if self.is_full() {
                tell(self.advance(), &mut staged, added)?;
            }
        }
        tell(self.commit(), &mut staged, added)
    }
}

/// Tells which of `staged` a commit made valid, and takes them off.
fn tell(
    outcome: CommitOutcome,
    staged: &mut Vec<StorePath>,
    added: &mut dyn FnMut(&StorePath),
) -> Result<()> {
    staged
        .drain(..outcome.valid.min(staged.len()))
        .for_each(|path| added(&path));
    outcome.failure.map_or(Ok(()), Err)
}

/// What an export stream tells of an object; hash and size follow from its archive.
fn announced(trailer: ExportTrailer) -> ValidPathInfo {
    let mut info = UnkeyedValidPathInfo::new(NarHash::from_bytes([0; 32]), 0);
    info.references = trailer.references;
    info.deriver = trailer.deriver;
    ValidPathInfo {
        path: trailer.path,
        info,
    }
}

fn archive(action: &'static str) -> impl FnOnce(nix_nar::Error) -> Error {
    move |source| Error::Archive { action, source }
}
