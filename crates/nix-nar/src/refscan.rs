//! Finds references: hashes of store paths in a stream of bytes.
//!
//! A store path refers to another if the 32 digits of the other's hash occur
//! anywhere in its archive. Between any two bytes that are no digits there are
//! rarely 32 digits, so the scanner looks at the *last* byte of a window
//! first, and skips the window if that is none; each byte is looked at once at
//! most.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use nix_base::StorePathHash;

#[cfg(test)]
mod tests;

/// A writer that finds which of some hashes occur in what is written to it,
/// however that is cut into pieces.
#[derive(Debug)]
pub struct RefScanSink {
    /// What is not found yet.
    wanted: BTreeMap<Digits, StorePathHash>,
    found: BTreeSet<StorePathHash>,
    /// Which first three digits a wanted hash has, one bit each.
    prefixes: Box<[u64; PREFIXES / 64]>,
    /// The last bytes seen: fewer than one window.
    tail: [u8; 2 * WINDOW],
    tail_len: usize,
}

impl RefScanSink {
    /// A sink that looks for `hashes`.
    pub fn new(hashes: impl IntoIterator<Item = StorePathHash>) -> Self {
        let mut prefixes = Box::new([0; PREFIXES / 64]);
        let mut wanted = BTreeMap::new();
        for hash in hashes {
            if let Ok(digits) = Digits::try_from(hash.as_str().as_bytes()) {
                let prefix = prefix(&digits);
                prefixes[prefix / 64] |= 1 << (prefix % 64);
                wanted.insert(digits, hash);
            }
        }
        Self {
            wanted,
            found: BTreeSet::new(),
            prefixes,
            tail: [0; 2 * WINDOW],
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

    fn scan(&mut self, data: &[u8]) {
        let mut start = 0;
        // Bytes from `start` on that are known to be digits.
        let mut known = 0;
        while let Some(window) = data.get(start..start + WINDOW) {
            if let Some(bad) = window[known..]
                .iter()
                .rposition(|&b| DIGIT[usize::from(b)] == NONE)
            {
                start += known + bad + 1;
                known = WINDOW - (known + bad + 1);
                continue;
            }
            self.look_up(window);
            start += 1;
            known = WINDOW - 1;
        }
    }

    fn look_up(&mut self, window: &[u8]) {
        let Ok(digits) = Digits::try_from(window) else {
            return;
        };
        let prefix = prefix(&digits);
        if self.prefixes[prefix / 64] & (1 << (prefix % 64)) == 0 {
            return;
        }
        if let Some(hash) = self.wanted.remove(&digits) {
            self.found.insert(hash);
        }
    }
}

impl Write for RefScanSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.wanted.is_empty() {
            return Ok(data.len());
        }
        // The windows that begin in the tail, then those that begin in `data`.
        let join = data.len().min(WINDOW - 1);
        let joined = self.tail_len + join;
        self.tail[self.tail_len..joined].copy_from_slice(&data[..join]);
        let seam = self.tail;
        self.scan(&seam[..joined]);
        self.scan(data);
        if data.len() >= WINDOW - 1 {
            self.tail[..WINDOW - 1].copy_from_slice(&data[data.len() - (WINDOW - 1)..]);
            self.tail_len = WINDOW - 1;
        } else {
            let keep = joined.min(WINDOW - 1);
            self.tail.copy_within(joined - keep..joined, 0);
            self.tail_len = keep;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Digits = [u8; WINDOW];

/// The first three digits as a number of 15 bits; all must be digits.
fn prefix(digits: &Digits) -> usize {
    digits[..3].iter().fold(0, |n, &b| {
        (n << 5) | usize::from(DIGIT[usize::from(b)] & 31)
    })
}

/// Length of a hash in digits.
const WINDOW: usize = 32;

const PREFIXES: usize = 1 << 15;

/// Marks a byte that is no digit.
const NONE: u8 = 0xff;

/// The value of each byte as a digit.
const DIGIT: [u8; 256] = {
    let digits = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut table = [NONE; 256];
    let mut i = 0u8;
    while i < 32 {
        table[digits[i as usize] as usize] = i;
        i += 1;
    }
    table
};
