//! Temporary roots as roots among others.

use std::io;

use super::found::Found;
use super::{Root, RootSource};
use crate::error::{Error, Result};
use crate::layout::StoreLayout;
use crate::lock::{LockError, TempRootsScan};

/// Adds the temporary roots of all live processes, whose paths need not be valid.
///
/// Only who may write to the store may read them. To others they are something that can't be
/// read, among what they can see.
pub(super) fn find(layout: &StoreLayout, roots: &mut Vec<Root>, found: &mut Found) -> Result<()> {
    let scan = match TempRootsScan::read(&layout.state, &layout.store_dir) {
        Err(LockError::Io { path, source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            found.unreadable(&path, source);
            return Ok(());
        }
        scan => scan.map_err(|error| Error::lock("find temporary roots", error))?,
    };
    roots.extend(scan.roots().iter().filter_map(|root| {
        // The hash alone protects a path; one with a name that isn't allowed can't be printed.
        let target = layout.store_dir.parse(&root.path).ok()?;
        let source = RootSource::TempRoots { pid: root.pid };
        Some(Root { source, target })
    }));
    Ok(())
}
