//! Hashing the keys of the memo: base names, which begin with digits of a digest.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashers with a seed of their own for each memo.
///
/// The digits of honest paths are evenly spread, so mixing them quickly is enough; the
/// seed keeps made-up ones from colliding at will.
#[derive(Clone, Debug)]
pub(super) struct BaseNameState {
    seed: u64,
}

impl Default for BaseNameState {
    fn default() -> Self {
        Self {
            seed: RandomState::new().hash_one(0),
        }
    }
}

impl BuildHasher for BaseNameState {
    type Hasher = BaseNameHasher;

    fn build_hasher(&self) -> BaseNameHasher {
        BaseNameHasher { state: self.seed }
    }
}

#[derive(Clone, Debug)]
pub(super) struct BaseNameHasher {
    state: u64,
}

impl BaseNameHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(FACTOR);
        let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
        self.state = u64::try_from(low ^ high).unwrap_or(0);
    }
}

impl Hasher for BaseNameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

/// An odd number with bits all over.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
