//! What `quota` is told.

use crate::policy::KeyName;

/// Arguments of `quota`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuotaArgs {
    /// Which keys; all if none is named.
    pub(crate) keys: Vec<KeyName>,
    /// Set the time that their builds took to nothing.
    pub(crate) reset_build_time: bool,
    /// One JSON object a line.
    pub(crate) json: bool,
}
