//! Building one derivation.

/// Builds derivations, one at a time.
#[derive(Debug)]
pub struct Builder;
