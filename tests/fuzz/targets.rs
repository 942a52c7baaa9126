//! What is fuzzed.

mod archive;
mod cache;
mod derivation;
mod policy;
mod protocol;
mod values;

/// A unit takes one input, panics if something is wrong with how it is handled, and gives
/// the class of the outcome.
pub(crate) type Unit = Box<dyn FnMut(&[u8]) -> u64>;

/// A thing to fuzz.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) make: fn() -> Unit,
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    pub(crate) words: &'static [&'static [u8]],
}

/// All targets, the slowest ones first.
pub(crate) const ALL: &[Target] = &[
    protocol::CONNECTION,
    protocol::REPLY,
    archive::ROUND_TRIP,
    archive::PARSE,
    archive::EXPORT,
    derivation::ATERM_ROUND_TRIP,
    derivation::ATERM_PARSE,
    derivation::JSON,
    policy::POLICY,
    cache::NARINFO,
    values::STORE_PATH,
    values::SIGNATURE,
    values::HASH,
];
