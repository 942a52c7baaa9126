//! Temporary roots as roots among others.

use super::{Root, RootSource};
use crate::error::{Error, Result};
use crate::layout::StoreLayout;
use crate::lock::TempRootsScan;

/// Adds the temporary roots of all live processes, whose paths need not be valid.
pub(super) fn find(layout: &StoreLayout, roots: &mut Vec<Root>) -> Result<()> {
    let scan = TempRootsScan::read(&layout.state, &layout.store_dir)
        .map_err(|error| Error::lock("find temporary roots", error))?;
    roots.extend(scan.roots().iter().filter_map(|root| {
        // The hash alone protects a path; one with a name that isn't allowed can't be printed.
        let target = layout.store_dir.parse(&root.path).ok()?;
        let source = RootSource::TempRoots { pid: root.pid };
        Some(Root { source, target })
    }));
    Ok(())
}
