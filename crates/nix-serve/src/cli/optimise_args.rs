//! Arguments of `optimise`.

use std::num::NonZeroUsize;

/// Arguments of `optimise`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OptimiseArgs {
    /// Say what would be freed, and link nothing.
    pub(crate) dry_run: bool,
    /// Print a report as JSON on stdout.
    pub(crate) json: bool,
    /// How many threads read files.
    pub(crate) threads: Option<NonZeroUsize>,
}
