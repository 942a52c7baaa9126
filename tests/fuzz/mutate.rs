//! Inputs from other inputs.

/// Makes inputs; the same seed and corpus give the same ones.
pub(crate) struct Mutator {
    state: u64,
    /// What the format is made of.
    words: &'static [&'static [u8]],
}

impl Mutator {
    pub(crate) fn new(seed: u64, words: &'static [&'static [u8]]) -> Self {
        // An odd factor keeps neighbouring seeds apart and the state from being zero.
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { state, words }
    }

    /// An input with a few changes, or pieces of two; `corpus` is not empty.
    pub(crate) fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        // What was found last is least explored.
        let count = corpus.len();
        let at = match self.below(3) {
            0 => count - 1 - self.below(count.min(16)),
            _ => self.below(count),
        };
        let mut input = corpus[at].clone();
        if self.below(8) == 0 {
            let other = &corpus[self.below(count)];
            let from = self.below(other.len() + 1);
            input.truncate(self.below(input.len() + 1));
            input.extend_from_slice(&other[from..]);
        }
        for _ in 0..1 << self.below(4) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(12) {
            0 => input.truncate(at),
            1 => self.set(input, at, |old, random| old ^ (1 << (random % 8))),
            2 => self.set(input, at, |_, random| random),
            3 => {
                let byte = TELLING[self.below(TELLING.len())];
                self.set(input, at, |_, _| byte);
            }
            4 => {
                let range = self.block(input);
                input.drain(range);
            }
            5 => {
                let block = input[self.block(input)].to_vec();
                input.splice(at..at, block);
            }
            6 => {
                // A block in another place of the same size.
                let block = input[self.block(input)].to_vec();
                let end = input.len().min(at + block.len());
                input[at..end].copy_from_slice(&block[..end - at]);
            }
            7 => self.swap(input),
            8 => {
                let at = at / 8 * 8;
                let number = self.number().to_le_bytes();
                if let Some(field) = input.get_mut(at..at + 8) {
                    field.copy_from_slice(&number);
                }
            }
            9 => self.digits(input, at),
            _ if self.words.is_empty() => self.set(input, at, |_, random| random),
            10 => {
                let word = self.words[self.below(self.words.len())];
                input.splice(at..at, word.iter().copied());
            }
            _ => {
                let word = self.words[self.below(self.words.len())];
                let end = input.len().min(at + word.len());
                input.splice(at..end, word.iter().copied());
            }
        }
    }

    fn set(&mut self, input: &mut [u8], at: usize, new: impl FnOnce(u8, u8) -> u8) {
        let random = self.random().to_le_bytes()[5];
        if let Some(byte) = input.get_mut(at) {
            *byte = new(*byte, random);
        }
    }

    /// Some of the input, mostly short.
    fn block(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(input.len() + 1);
        let most = if self.below(4) == 0 { input.len() } else { 32 };
        let length = self.below(most + 1).min(input.len() - start);
        start..start + length
    }

    /// Two blocks side by side change places.
    fn swap(&mut self, input: &mut [u8]) {
        let range = self.block(input);
        if range.len() > 1 {
            let middle = 1 + self.below(range.len() - 1);
            input[range].rotate_left(middle);
        }
    }

    /// A number in a text becomes another one.
    fn digits(&mut self, input: &mut Vec<u8>, from: usize) {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let Some(start) = input[from..].iter().position(is_digit) else {
            return;
        };
        let start = from + start;
        let length = input[start..].iter().take_while(|b| is_digit(b)).count();
        let number = self.number().to_string().into_bytes();
        input.splice(start..start + length, number);
    }

    /// A number at which something may go wrong.
    fn number(&mut self) -> u64 {
        let power = 1_u64 << self.below(64);
        match self.below(6) {
            0 => power,
            1 => power - 1,
            2 => power.wrapping_add(1),
            3 => power.wrapping_neg(),
            4 => u64::MAX - self.below(16) as u64,
            _ => self.below(300) as u64,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        let random = usize::try_from(self.random() >> 16).unwrap();
        random % limit
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

/// Bytes that often mean something.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xff\n\\\"'()[]{},:;=/.-+ 0a";
/// Longest input, in bytes.
const LONGEST: usize = 1 << 20;
