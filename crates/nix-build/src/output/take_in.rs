//! Taking outputs over from a builder: whether they are there and the builder's own, and
//! with which metadata.

use std::collections::BTreeMap;
use std::ffi::OsString;

use nix_base::{BuildStatus, OutputName};
use nix_nar::RefScanSink;
use nix_store_core::{CanonicaliseError, Canonicaliser};
use rustix::fs::{FileType, Mode};

use super::OutputJob;
use super::tree::{Scanned, Tree, copy_name};
use crate::failure::{BuildFailure, Result};

/// Checks the outputs `wanted`, in this order, makes them canonical and scans them.
pub(super) fn take_in<'j>(
    job: &OutputJob<'j>,
    wanted: &[&OutputName],
    scanner: &mut RefScanSink,
) -> Result<BTreeMap<OutputName, (Tree<'j>, Scanned)>> {
    let mut trees = Vec::with_capacity(wanted.len());
    for &name in wanted {
        let tree = tree_of(job, name)?;
        check_root(job, name, &tree)?;
        trees.push((name, tree));
    }
    let mut canonicaliser = Canonicaliser::new(job.uids.clone(), job.private);
    for (_, tree) in &trees {
        canonicaliser
            .inspect(tree.dir, tree.dir_path, &tree.name)
            .map_err(refusal)?;
    }
    if !job.copy_first {
        for (_, tree) in &trees {
            canonicaliser
                .apply(tree.dir, tree.dir_path, &tree.name)
                .map_err(refusal)?;
        }
    }
    let mut taken = BTreeMap::new();
    for (name, tree) in trees {
        let both = match job.copy_first {
            true => {
                let copy = copy_name("copy", &tree.name);
                let copied = tree.copy_to(job.private, copy, &BTreeMap::new(), scanner)?;
                tree.discard();
                copied
            }
            false => {
                let scanned = tree.scan(scanner)?;
                (tree, scanned)
            }
        };
        taken.insert(name.clone(), both);
    }
    Ok(taken)
}

fn tree_of<'j>(job: &OutputJob<'j>, name: &OutputName) -> Result<Tree<'j>> {
    let scratch = job.scratch.scratch(name);
    let scratch =
        scratch.ok_or_else(|| BuildFailure::misc(format!("derivation has no output '{name}'")))?;
    Ok(Tree {
        dir: job.place,
        dir_path: job.place_path,
        name: OsString::from(scratch.base_name()),
    })
}

fn check_root(job: &OutputJob<'_>, name: &OutputName, tree: &Tree<'_>) -> Result<()> {
    let rejected = |message| BuildFailure::new(BuildStatus::OutputRejected, message);
    let Some(stat) = tree.stat()? else {
        return Err(rejected(format!(
            "builder for '{}' failed to produce output path for output '{name}' at '{}'",
            job.store.store_dir().print(&job.request.drv_path),
            tree.path().display(),
        )));
    };
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let others = Mode::WGRP | Mode::WOTH;
    let writable = !is_link && Mode::from_raw_mode(stat.st_mode).intersects(others);
    if writable || !job.uids.contains(&stat.st_uid) {
        return Err(rejected(format!(
            "suspicious ownership or permission on '{}' for output '{name}'; rejecting this build output",
            tree.path().display(),
        )));
    }
    Ok(())
}

fn refusal(error: CanonicaliseError) -> BuildFailure {
    match error {
        CanonicaliseError::InvalidOwnership(_) => {
            BuildFailure::new(BuildStatus::OutputRejected, error.to_string())
        }
        CanonicaliseError::UnsupportedType(_) | CanonicaliseError::TooDeep(_) => {
            BuildFailure::misc(error.to_string())
        }
        error => BuildFailure::because("cannot make an output canonical", &error),
    }
}
