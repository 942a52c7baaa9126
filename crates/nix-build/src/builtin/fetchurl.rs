//! `builtin:fetchurl`.

use super::{BuiltinCall, BuiltinError};

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// It isn't fixed or impure.
    #[error("not possible")]
    NotPossible,
}

pub(super) fn run(call: &BuiltinCall) -> Result<(), BuiltinError> {
    let _ = (
        call.out()?,
        call.required("x")?,
        call.required_text("y")?,
        call.is_set("z")?,
    );
    super::say::warning("");
    Err(FetchError::NotPossible.into())
}
