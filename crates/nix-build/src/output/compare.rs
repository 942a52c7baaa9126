//! Comparing what was built again with what is valid.

use std::ffi::{OsStr, OsString};

use nix_base::{BuildStatus, ValidPathInfo};
use rustix::fs::{AtFlags, FileType, Mode};

use super::content::Made;
use super::{Difference, OutputJob};
use crate::failure::{BuildFailure, Result};

/// Compares an output with the valid one, if there is one. If they are equal, the valid one
/// counts as built here from now on.
pub(super) fn compare(job: &OutputJob<'_>, made: &Made<'_>) -> Result<Option<ValidPathInfo>> {
    let (store, path) = (job.store, &made.info.path);
    // Nix compat: an output whose path follows from its content, and that came out at
    // another one, is compared with nothing.
    let Some(mut valid) = store.db().query_path_info(path)? else {
        return Ok(None);
    };
    if valid.nar_hash != made.info.nar_hash {
        return Err(different(job, made));
    }
    if !valid.ultimate {
        store.mark_built(path, &made.info.sigs)?;
        valid.info.ultimate = true;
        valid.info.sigs.extend(made.info.sigs.iter().cloned());
    }
    Ok(Some(valid))
}

fn different(job: &OutputJob<'_>, made: &Made<'_>) -> BuildFailure {
    let old = job.store.layout().real_path(&made.info.path);
    let drv = job.store.store_dir().print(&job.request.drv_path);
    let mut message = format!(
        "derivation '{drv}' may not be deterministic: output '{}' differs",
        old.display()
    );
    if job.keep_different {
        let mut new = OsString::from(&old);
        new.push(CHECK_SUFFIX);
        let difference = Difference {
            old,
            new: new.into(),
        };
        if let Err(failure) = keep(job, made) {
            return failure;
        }
        message.push_str(&format!(" from '{}'", difference.new.display()));
        (job.on_difference)(&difference);
    }
    BuildFailure::new(BuildStatus::NotDeterministic, message)
}

/// Moves an output beside the valid one. It has the same hash part, so what keeps the valid
/// one from being collected keeps this one as well.
fn keep(job: &OutputJob<'_>, made: &Made<'_>) -> Result<()> {
    let name = format!("{}{CHECK_SUFFIX}", made.info.path);
    let (store, tree) = (job.store.store_fd(), &made.tree);
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let what = format!("cannot keep output '{}'", tree.path().display());
        BuildFailure::because(&what, error)
    };
    match nix_nar::fs::remove::remove_tree(store, OsStr::new(&name)) {
        Err(error) if !error.is_not_found() => return Err(failed(&error)),
        _ => {}
    }
    let is_directory = tree
        .stat()?
        .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    // Without privilege, an owner can move a directory only while it is writable.
    let chmod = |dir, name: &OsStr, mode| match is_directory {
        true => rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty()),
        false => Ok(()),
    };
    chmod(tree.dir, &tree.name, 0o755)
        .and_then(|()| rustix::fs::renameat(tree.dir, &tree.name, store, &name))
        .and_then(|()| chmod(store, OsStr::new(&name), 0o555))
        .map_err(|error| failed(&std::io::Error::from(error)))
}

const CHECK_SUFFIX: &str = ".check";
