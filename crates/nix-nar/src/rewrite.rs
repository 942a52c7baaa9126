//! Replaces hashes of store paths in a stream of bytes.
//!
//! All hashes are of one length, so nothing else in the stream moves. Occurrences don't
//! overlap: the first one counts, and what it is replaced by isn't looked at again.

use std::collections::BTreeMap;
use std::io::{self, Write};

use nix_base::StorePathHash;

use crate::needles::{NEEDLE, Needles};

#[cfg(test)]
mod tests;

/// A writer that passes on what is written to it with hashes replaced, however it is cut
/// into pieces.
#[derive(Debug)]
pub struct RewriteSink<W> {
    needles: Needles,
    /// What replaces each needle.
    replacements: Vec<StorePathHash>,
    /// Bytes that may be the start of a hash, and room for more.
    held: Vec<u8>,
    out: W,
}

impl<W: Write> RewriteSink<W> {
    /// Passes bytes on to `out`, with the keys of `rewrites` replaced by their values.
    ///
    /// Call [`Self::finish`] at the end: some bytes are held back until then.
    pub fn new(rewrites: &BTreeMap<StorePathHash, StorePathHash>, out: W) -> Self {
        let needles = Needles::new(rewrites.keys().copied());
        let replacements = needles.hashes().iter().map(|from| rewrites[from]).collect();
        Self {
            needles,
            replacements,
            held: Vec::new(),
            out,
        }
    }

    /// Passes on what is held back, and gives the writer below.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.held)?;
        Ok(self.out)
    }

    /// Replaces in what is held, and passes on all of it that can't be the start of
    /// another hash.
    fn settle(&mut self) -> io::Result<()> {
        let mut hits = Vec::new();
        let mut end = 0;
        self.needles.find(&self.held, |start, needle| {
            if start >= end {
                hits.push((start, needle));
                end = start + NEEDLE;
            }
        });
        for (start, needle) in hits {
            let replacement = self.replacements[needle].as_bytes();
            self.held[start..start + NEEDLE].copy_from_slice(replacement);
        }
        let settled = end.max(self.held.len().saturating_sub(NEEDLE - 1));
        self.out.write_all(&self.held[..settled])?;
        self.held.drain(..settled);
        Ok(())
    }
}

impl<W: Write> Write for RewriteSink<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let piece = &data[..data.len().min(PIECE)];
        self.held.extend_from_slice(piece);
        self.settle()?;
        Ok(piece.len())
    }

    /// Flushes what was passed on; what is held back stays.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Most bytes that are copied at once.
const PIECE: usize = 128 * 1024;
