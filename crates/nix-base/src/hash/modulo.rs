//! Hashing an object without its own hash part, for content addresses of objects that
//! refer to themselves.
//!
//! Each occurrence of the 32 digits counts as 32 zero bytes. At the end the text
//! `|<offset>` is hashed for every occurrence in order, so that their positions matter.
//! Nix 2.17–2.34 leave the positions out; [`Positions`] chooses.

use std::io::{self, Write};

use super::{Hash, HashAlgo, Hasher};
use crate::store_path::{HASH_DIGITS, StorePathHash};

/// Whether the offsets of the occurrences take part in the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// The rule: they do.
    Included,
    /// What Nix 2.17–2.34 compute.
    Omitted,
}

/// A writer that hashes modulo one store path hash.
#[derive(Debug, Clone)]
pub struct HashModuloSink {
    hasher: Hasher,
    needle: StorePathHash,
    positions: Positions,
    /// Bytes that may be the start of an occurrence: fewer than [`HASH_DIGITS`].
    held: Vec<u8>,
    /// Offset of the first held byte.
    offset: u64,
    /// `|<offset>` of every occurrence so far.
    trailer: String,
}

impl HashModuloSink {
    /// Hashes with `algo`, blanking `needle`.
    #[must_use]
    pub fn new(algo: HashAlgo, needle: StorePathHash, positions: Positions) -> Self {
        Self {
            hasher: Hasher::new(algo),
            needle,
            positions,
            held: Vec::with_capacity(2 * HASH_DIGITS),
            offset: 0,
            trailer: String::new(),
        }
    }

    /// The hash of all bytes written.
    #[must_use]
    pub fn finish(mut self) -> Hash {
        self.hasher.update(&self.held);
        if self.positions == Positions::Included {
            self.hasher.update(self.trailer.as_bytes());
        }
        self.hasher.finish()
    }

    /// Hashes the part of `data` that is settled and returns how much that is; what is
    /// left is shorter than an occurrence.
    fn settle(&mut self, data: &[u8]) -> usize {
        let mut done = 0;
        let mut at = 0;
        while data.len() - at >= HASH_DIGITS {
            if data[at..at + HASH_DIGITS] == *self.needle.as_bytes() {
                self.hasher.update(&data[done..at]);
                self.hasher.update(&[0; HASH_DIGITS]);
                let position = self.offset + at as u64;
                self.trailer.push_str(&format!("|{position}"));
                at += HASH_DIGITS;
                done = at;
            } else {
                at += 1;
            }
        }
        self.hasher.update(&data[done..at]);
        self.offset += at as u64;
        at
    }
}

impl Write for HashModuloSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut rest = data;
        if !self.held.is_empty() {
            // Enough of the new data to settle all that is held.
            let taken = rest.len().min(HASH_DIGITS);
            let mut joined = std::mem::take(&mut self.held);
            joined.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            let settled = self.settle(&joined);
            joined.drain(..settled);
            self.held = joined;
            if !self.held.is_empty() && !rest.is_empty() {
                // The held bytes are the end of what was taken: give them back.
                let start = data.len() - rest.len() - self.held.len();
                self.held.clear();
                rest = &data[start..];
            }
        }
        let settled = self.settle(rest);
        self.held.extend_from_slice(&rest[settled..]);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDLE: &[u8; 32] = b"i9pmrzmpshapij2kin22pff6fc2adavx";

    fn sink(positions: Positions) -> HashModuloSink {
        let needle = StorePathHash::from_digits(NEEDLE).unwrap();
        HashModuloSink::new(HashAlgo::Sha256, needle, positions)
    }

    fn split_hash(data: &[u8], chunk: usize) -> Hash {
        let mut sink = sink(Positions::Included);
        for part in data.chunks(chunk) {
            sink.write_all(part).unwrap();
        }
        sink.finish()
    }

    #[test]
    fn without_occurrences_it_is_the_plain_hash() {
        let mut sink = sink(Positions::Included);
        sink.write_all(b"hello\n").unwrap();
        assert_eq!(sink.finish(), Hash::of(HashAlgo::Sha256, b"hello\n"));
    }

    #[test]
    fn occurrences_are_blanked_and_their_positions_appended() {
        let data = [b"ab", &NEEDLE[..], b"c", NEEDLE, NEEDLE, &NEEDLE[..31]].concat();
        let blank = [0u8; 32];
        let mut expected = [b"ab", &blank[..], b"c", &blank, &blank, &NEEDLE[..31]].concat();
        let mut omitted = sink(Positions::Omitted);
        omitted.write_all(&data).unwrap();
        assert_eq!(omitted.finish(), Hash::of(HashAlgo::Sha256, &expected));
        expected.extend_from_slice(b"|2|35|67");
        let whole = Hash::of(HashAlgo::Sha256, &expected);
        for chunk in 1..data.len() {
            assert_eq!(split_hash(&data, chunk), whole, "chunks of {chunk}");
        }
    }
}
