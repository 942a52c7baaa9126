//! Export streams: archives with what a store must know to register them.
//!
//! ```text
//! stream  = { u64(1) nar trailer } u64(0)
//! trailer = u64(0x4558494e) path set<path> (path | "") flag
//! flag    = u64(0) | u64(1) signature        -- the signature means nothing
//! ```
//!
//! References stand before what refers to them, so that a receiver can
//! register one path at a time. Hash and size of each archive are not in the
//! stream: the receiver computes them.

use std::io::{BufRead, Write};

use nix_base::wire::{MAX_SHORT, WireError, WireRead, WireWrite};
use nix_base::{StoreDir, StorePath, StorePathSet};

use crate::error::{Error, ExportProblem, Result};

#[cfg(test)]
mod tests;

/// What follows an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportTrailer {
    /// The store path that the archive is of.
    pub path: StorePath,
    /// The paths that it refers to, perhaps itself.
    pub references: StorePathSet,
    /// The derivation that it was built by.
    pub deriver: Option<StorePath>,
}

/// Reads an export stream.
///
/// ```text
/// while reader.next_archive()? {      // loop over the archives
///     …read one archive from reader.archive()…
///     let trailer = reader.read_trailer(&store_dir)?;
/// }
/// ```
#[derive(Debug)]
pub struct ExportReader<R> {
    reader: R,
    /// Archives begun.
    archive: u64,
}

impl<R: BufRead> ExportReader<R> {
    /// Reads from `reader`, which keeps what follows the stream.
    pub fn new(reader: R) -> Self {
        Self { reader, archive: 0 }
    }

    /// Whether another archive follows, rather than the end of the stream.
    ///
    /// # Errors
    /// [`ExportProblem::Marker`] for anything else; [`Error::ExportField`] when reading fails.
    pub fn next_archive(&mut self) -> Result<bool> {
        self.archive += 1;
        match self
            .reader
            .read_u64("marker")
            .map_err(|e| self.field("marker", e))?
        {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad(ExportProblem::Marker)),
        }
    }

    /// The reader, at the start of the archive. Exactly the archive must be
    /// taken from it: see [`crate::NarReader`] and [`crate::copy`].
    pub fn archive(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Reads what follows the archive.
    ///
    /// # Errors
    /// [`Error::BadExport`] and [`Error::ExportField`] for anything that is no
    /// trailer, or has paths that are not of `store_dir`.
    pub fn read_trailer(&mut self, store_dir: &StoreDir) -> Result<ExportTrailer> {
        if self
            .reader
            .read_u64("magic")
            .map_err(|e| self.field("magic", e))?
            != MAGIC
        {
            return Err(self.bad(ExportProblem::Magic));
        }
        let path = self
            .reader
            .read_path("path", store_dir)
            .map_err(|e| self.field("path", e))?;
        let references = self
            .reader
            .read_path_set("references", store_dir)
            .map_err(|e| self.field("references", e))?;
        let deriver = self
            .reader
            .read_optional_path("deriver", store_dir)
            .map_err(|e| self.field("deriver", e))?;
        match self
            .reader
            .read_u64("signature")
            .map_err(|e| self.field("signature", e))?
        {
            0 => {}
            // Nix compat: streams of 1.x were signed as a whole. Nobody checks that any more.
            1 => {
                let signature = self.reader.read_bytes("signature", MAX_SHORT);
                signature.map_err(|e| self.field("signature", e))?;
            }
            _ => return Err(self.bad(ExportProblem::SignatureFlag)),
        }
        Ok(ExportTrailer {
            path,
            references,
            deriver,
        })
    }

    /// The reader, behind what was read of the stream.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn bad(&self, problem: ExportProblem) -> Error {
        Error::BadExport {
            archive: self.archive,
            problem,
        }
    }

    fn field(&self, field: &'static str, source: WireError) -> Error {
        Error::ExportField {
            archive: self.archive,
            field,
            source: Box::new(source),
        }
    }
}

/// Writes an export stream: for each path [`ExportWriter::begin_archive`], one
/// archive to [`ExportWriter::archive`], and [`ExportWriter::write_trailer`].
#[derive(Debug)]
pub struct ExportWriter<W> {
    out: W,
    /// Archives begun.
    archive: u64,
}

impl<W: Write> ExportWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, archive: 0 }
    }

    /// Announces an archive.
    ///
    /// # Errors
    /// [`Error::ExportField`] when writing fails.
    pub fn begin_archive(&mut self) -> Result<()> {
        self.archive += 1;
        self.field("marker", |out| out.write_u64(1))
    }

    /// The writer, for exactly one archive.
    pub fn archive(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes what follows the archive.
    ///
    /// # Errors
    /// [`Error::ExportField`] when writing fails.
    pub fn write_trailer(&mut self, store_dir: &StoreDir, trailer: &ExportTrailer) -> Result<()> {
        self.field("magic", |out| out.write_u64(MAGIC))?;
        self.field("path", |out| out.write_path(store_dir, &trailer.path))?;
        self.field("references", |out| {
            out.write_path_set(store_dir, &trailer.references)
        })?;
        self.field("deriver", |out| {
            out.write_optional_path(store_dir, trailer.deriver.as_ref())
        })?;
        self.field("signature", |out| out.write_u64(0))
    }

    /// Ends the stream, flushes it and gives back the writer.
    ///
    /// # Errors
    /// [`Error::ExportField`] when writing fails.
    pub fn finish(mut self) -> Result<W> {
        self.archive += 1;
        self.field("marker", |out| {
            out.write_u64(0)?;
            out.flush()
        })?;
        Ok(self.out)
    }

    fn field(
        &mut self,
        field: &'static str,
        write: impl FnOnce(&mut W) -> std::io::Result<()>,
    ) -> Result<()> {
        let archive = self.archive;
        write(&mut self.out).map_err(|e| Error::ExportField {
            archive,
            field,
            source: Box::new(e),
        })
    }
}

/// Behind every archive; its bytes read `NIXE`.
const MAGIC: u64 = 0x4558_494e;
