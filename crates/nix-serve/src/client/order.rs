//! The order in which objects are copied.

use nix_base::{StoreDir, ValidPathInfo};

use super::{ClientError, Result};

/// [`nix_base::references_first`], with an error that names the full path.
///
/// # Errors
/// The references go in circles.
pub fn references_first(dir: &StoreDir, infos: Vec<ValidPathInfo>) -> Result<Vec<ValidPathInfo>> {
    nix_base::references_first(infos).map_err(|cycle| ClientError::Cycle {
        path: dir.print(&cycle.0),
    })
}
