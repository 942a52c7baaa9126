//! Finding any of many hashes of store paths in bytes.
//!
//! Whatever 32 bytes one looks at, eight of them in a row begin at a place that is a
//! multiple of 24. So only those places are looked at: the eight bytes there are a number,
//! and a Bloom filter tells whether some needle has these eight bytes anywhere it matters.
//! Few other numbers pass, and those are looked up.
//!
//! ```text
//! data     ........|.......WORD....|................WORD....|
//! needle              i9pmrzmpshapij2kin22pff6fc2adavx
//!                                           ^ offset 0 to 23
//! ```
//!
//! What the data is like doesn't matter much, nor how many needles there are, as long as
//! the filter fits the processor's caches.

use nix_base::StorePathHash;

#[cfg(test)]
mod tests;

/// A set of hashes to look for.
#[derive(Debug)]
pub(crate) struct Needles {
    hashes: Vec<StorePathHash>,
    /// Two bits for each word, at places that its hash tells.
    filter: Box<[u64]>,
    /// How far the hash of a word is shifted to be the number of a place in the filter.
    filter_shift: u32,
    /// Where the entries of each bucket begin, and one more for the end.
    starts: Box<[u32]>,
    /// How far the hash of a word is shifted to be the number of a bucket.
    bucket_shift: u32,
    entries: Box<[Entry]>,
}

/// Eight bytes of a needle.
#[derive(Debug, Clone, Copy)]
struct Entry {
    word: u64,
    needle: u32,
    offset: u8,
}

impl Needles {
    /// The needles, each of which counts once.
    pub(crate) fn new(hashes: impl IntoIterator<Item = StorePathHash>) -> Self {
        let mut hashes: Vec<_> = hashes.into_iter().collect();
        hashes.sort_unstable();
        hashes.dedup();
        // More would need terabytes of memory to stand in.
        hashes.truncate(usize::try_from(u32::MAX).unwrap_or(usize::MAX) / STRIDE);
        let count = hashes.len() * STRIDE;
        let filter_bits = bits_for(count.saturating_mul(SPARSE)).clamp(MIN_BITS, MAX_BITS);
        let bucket_bits = bits_for(count).clamp(1, MAX_BITS);
        let mut needles = Self {
            hashes,
            filter: vec![0; 1 << (filter_bits - 6)].into(),
            filter_shift: 64 - (filter_bits - 6),
            starts: vec![0; (1 << bucket_bits) + 1].into(),
            bucket_shift: 64 - bucket_bits,
            entries: Box::default(),
        };
        needles.fill(count);
        needles
    }

    /// Puts the words of all needles into the filter, and into buckets by counting.
    fn fill(&mut self, count: usize) {
        for entry in words_of(&self.hashes) {
            let mixed = mix(entry.word);
            self.filter[index(mixed >> self.filter_shift)] |= mark(mixed);
            self.starts[index(mixed >> self.bucket_shift) + 1] += 1;
        }
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        let mut next = self.starts.clone();
        let blank = Entry {
            word: 0,
            needle: 0,
            offset: 0,
        };
        let mut entries = vec![blank; count].into_boxed_slice();
        for entry in words_of(&self.hashes) {
            let bucket = index(mix(entry.word) >> self.bucket_shift);
            entries[index(next[bucket].into())] = entry;
            next[bucket] += 1;
        }
        self.entries = entries;
    }

    /// How many needles there are.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The needles in order.
    pub(crate) fn hashes(&self) -> &[StorePathHash] {
        &self.hashes
    }

    /// Calls `found` with the start of every occurrence within `data`, and the number of
    /// its needle, in the order of the starts.
    pub(crate) fn find(&self, data: &[u8], mut found: impl FnMut(usize, usize)) {
        let (blocks, rest) = data.as_chunks::<STRIDE>();
        let filter = &*self.filter;
        for (i, block) in blocks.iter().enumerate() {
            let Some(word) = block.first_chunk() else {
                continue;
            };
            let word = u64::from_le_bytes(*word);
            let mixed = mix(word);
            // Without a jump, since nobody could tell where it goes: what can't be digits is
            // looked for in the first place, where no place is full.
            let plausible = u64::from(may_be_digits(word)).wrapping_neg();
            let place = mixed >> self.filter_shift & plausible;
            let mark = mark(mixed) | !plausible;
            // Always in the filter: the shift leaves no larger number.
            let marks = filter.get(index(place)).copied().unwrap_or(0);
            if marks & mark == mark {
                self.look_up(data, i * STRIDE, mixed, &mut found);
            }
        }
        if let Some(word) = rest.first_chunk() {
            let mixed = mix(u64::from_le_bytes(*word));
            self.look_up(data, data.len() - rest.len(), mixed, &mut found);
        }
    }

    /// Reports the needles one of whose words stands at `at`.
    #[cold]
    #[inline(never)]
    fn look_up(&self, data: &[u8], at: usize, mixed: u64, found: &mut impl FnMut(usize, usize)) {
        let bucket = index(mixed >> self.bucket_shift);
        let entries = &self.entries[index(self.starts[bucket].into())..];
        let entries = &entries[..index((self.starts[bucket + 1] - self.starts[bucket]).into())];
        let hit = |entry: &Entry| {
            let start = at.checked_sub(entry.offset.into())?;
            let needle = index(entry.needle.into());
            let window = data.get(start..)?.first_chunk()?;
            (mix(entry.word) == mixed && self.hashes[needle].as_bytes() == window)
                .then_some((start, needle))
        };
        // Several are rare: each time the smallest start that wasn't reported yet.
        let mut after = 0;
        while let Some((start, needle)) = entries
            .iter()
            .filter_map(hit)
            .filter(|&(start, _)| start >= after)
            .min()
        {
            found(start, needle);
            after = start + 1;
        }
    }
}

/// The words of all needles at all offsets that count.
fn words_of(hashes: &[StorePathHash]) -> impl Iterator<Item = Entry> {
    let numbered = (0..).zip(hashes);
    numbered.flat_map(|(needle, hash)| {
        let words = hash.as_bytes().windows(WORD).take(STRIDE);
        (0..).zip(words).map(move |(offset, word)| Entry {
            word: u64::from_le_bytes(word.try_into().expect("a window has eight bytes")),
            needle,
            offset,
        })
    })
}

/// Spreads a word over all bits, the upper ones most. No two words give the same.
const fn mix(word: u64) -> u64 {
    word.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Whether no byte is beyond ASCII, a space, or most other characters that stand between
/// words. All digits of hashes have one of the bits 4 and 6.
const fn may_be_digits(word: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let either = (word >> 4 | word >> 6) & EACH;
    either == EACH && word & (EACH << 7) == 0
}

/// Two bits of a place in the filter, or one by chance. The upper bits of the hash tell the
/// place, so these come from below.
const fn mark(mixed: u64) -> u64 {
    1 << (mixed >> 30 & 63) | 1 << (mixed >> 24 & 63)
}

/// How many bits a number below `count` has.
fn bits_for(count: usize) -> u32 {
    usize::BITS - count.saturating_sub(1).leading_zeros()
}

/// A place in memory: never larger than what memory can have.
fn index(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// Length of a needle in bytes.
pub(crate) const NEEDLE: usize = 32;

/// Bytes that are looked at in one step.
const WORD: usize = 8;

/// From one place that is looked at to the next: the most for which no needle is missed.
const STRIDE: usize = NEEDLE - WORD;

/// Bits of the filter for each word in it.
const SPARSE: usize = 32;

/// The smallest filter has 2 KiB.
const MIN_BITS: u32 = 14;

/// The largest has 2 MiB.
const MAX_BITS: u32 = 24;
