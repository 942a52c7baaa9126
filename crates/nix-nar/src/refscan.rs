//! Finds references: hashes of store paths in a stream of bytes.
//!
//! A store path refers to another if the 32 digits of the other's hash occur
//! anywhere in its archive, whatever stands around them.

use std::collections::BTreeSet;
use std::io::{self, Write};

use nix_base::StorePathHash;

use crate::needles::{NEEDLE, Needles};

#[cfg(test)]
mod tests;

/// A writer that finds which of some hashes occur in what is written to it,
/// however that is cut into pieces.
#[derive(Debug)]
pub struct RefScanSink {
    needles: Needles,
    found: BTreeSet<StorePathHash>,
    /// The last bytes seen: fewer than a hash has.
    tail: [u8; 2 * NEEDLE],
    tail_len: usize,
}

impl RefScanSink {
    /// A sink that looks for `hashes`.
    pub fn new(hashes: impl IntoIterator<Item = StorePathHash>) -> Self {
        Self {
            needles: Needles::new(hashes),
            found: BTreeSet::new(),
            tail: [0; 2 * NEEDLE],
            tail_len: 0,
        }
    }

    /// What was found so far.
    pub fn found(&self) -> &BTreeSet<StorePathHash> {
        &self.found
    }

    /// Ends the stream and gives what was found in it.
    pub fn finish(self) -> BTreeSet<StorePathHash> {
        self.found
    }

    /// Ends the stream, gives what was found in it, and looks for the same
    /// hashes in the next one.
    pub fn restart(&mut self) -> BTreeSet<StorePathHash> {
        self.tail_len = 0;
        std::mem::take(&mut self.found)
    }
}

impl Write for RefScanSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Self { needles, found, .. } = self;
        if found.len() == needles.len() {
            return Ok(data.len());
        }
        let mut hit = |_, needle: usize| {
            let hash = needles.hashes()[needle];
            if !found.contains(&hash) {
                found.insert(hash);
            }
        };
        // The hashes that begin in the tail, then those that begin in `data`.
        let join = data.len().min(NEEDLE - 1);
        let joined = self.tail_len + join;
        self.tail[self.tail_len..joined].copy_from_slice(&data[..join]);
        needles.find(&self.tail[..joined], &mut hit);
        needles.find(data, &mut hit);
        if data.len() >= NEEDLE - 1 {
            self.tail[..NEEDLE - 1].copy_from_slice(&data[data.len() - (NEEDLE - 1)..]);
            self.tail_len = NEEDLE - 1;
        } else {
            let keep = joined.min(NEEDLE - 1);
            self.tail.copy_within(joined - keep..joined, 0);
            self.tail_len = keep;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
