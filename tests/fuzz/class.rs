//! What an outcome has in common with others: the stand-in for coverage.

use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The class of whatever can be hashed.
pub(crate) fn of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The class of a result: of the error if there is one, else of what `shape` says.
pub(crate) fn of_result<T, E: Error, S: Hash>(
    result: &Result<T, E>,
    shape: impl FnOnce(&T) -> S,
) -> u64 {
    match result {
        Ok(value) => of((true, shape(value))),
        Err(error) => of_error(error),
    }
}

/// The class of an error: its words and those of its causes, without what they quote, and
/// with the magnitude of numbers alone.
pub(crate) fn of_error(error: &dyn Error) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // What is quoted may have quotes in it.
        hash_words(text.split('\'').next().unwrap_or_default(), &mut hasher);
        hash_words(text.rsplit('\'').next().unwrap_or_default(), &mut hasher);
        next = error.source();
    }
    hasher.finish()
}

fn hash_words(words: &str, hasher: &mut DefaultHasher) {
    for word in words.split_whitespace() {
        match word
            .trim_matches(|c: char| c.is_ascii_punctuation())
            .parse()
        {
            Ok(number) => magnitude(number).hash(hasher),
            Err(_) => word.hash(hasher),
        }
    }
}

/// How large a number is, finely for small ones and roughly for others.
pub(crate) fn magnitude(number: u64) -> u32 {
    match number {
        0..16 => u32::try_from(number).unwrap(),
        _ => 16 + number.ilog2(),
    }
}

/// The magnitude of a length.
pub(crate) fn size(length: usize) -> u32 {
    magnitude(length as u64)
}
