//! Valid paths that have no object.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};

use nix_base::{StorePath, StorePathSet};

use super::Check;
use super::options::Remedy;
use super::problem::VerifyProblem;
use super::repair::RepairError;
use crate::error::Result;

impl Check<'_, '_, '_> {
    /// Settles what has no object, and gives the rest of `paths`.
    pub(super) fn check_existence(
        &mut self,
        mut paths: StorePathSet,
        present: &HashSet<OsString>,
    ) -> Result<StorePathSet> {
        let is_there = |path: &StorePath| present.contains(OsStr::new(&path.to_string()));
        let missing: StorePathSet = paths
            .iter()
            .filter(|path| !is_there(path))
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(paths);
        }
        paths.retain(|path| !missing.contains(path));
        self.report.paths += missing.len();
        let mut lost = StorePathSet::new();
        let mut reasons = Vec::new();
        for path in missing {
            if self.store.is_read_only() && !self.store.is_valid(&path)? {
                // Nobody kept a collector away.
                continue;
            }
            self.watch.looks_at(&path);
            match self.restore(&path) {
                Some(Ok(())) => {
                    let has_valid_referrers = self.is_needed(&path, &is_there)?;
                    let problem = self.disappeared(&path, has_valid_referrers);
                    self.settle(problem, |_| Ok(Some(Ok(()))))?;
                }
                Some(Err(error)) => {
                    reasons.push((path.clone(), error));
                    lost.insert(path);
                }
                None => drop(lost.insert(path)),
            }
        }
        self.settle_lost(lost, reasons)?;
        Ok(paths)
    }

    /// Forgets what is lost and not needed by anything that is there; reports the rest.
    fn settle_lost(
        &mut self,
        mut lost: StorePathSet,
        mut reasons: Vec<(StorePath, RepairError)>,
    ) -> Result<()> {
        loop {
            let mut kept = StorePathSet::new();
            let before = lost.len();
            for path in lost {
                let forget = self.options.remedy != Remedy::Report
                    && self.other_referrers(&path)?.is_empty()
                    && self.forget(&path)?;
                if forget {
                    let problem = self.disappeared(&path, false);
                    self.settle(problem, |_| Ok(Some(Ok(()))))?;
                } else {
                    kept.insert(path);
                }
            }
            lost = kept;
            if lost.len() == before {
                break;
            }
        }
        let needed = self.needed_among(&lost)?;
        for path in &lost {
            let problem = self.disappeared(path, needed.contains(path));
            let reason = reasons.iter().position(|(of, _)| of == path);
            let reason = reason.map(|place| Err(reasons.swap_remove(place).1));
            self.settle(problem, |_| Ok(reason))?;
        }
        Ok(())
    }

    /// Whether the database forgot the path; not if something came to refer to it.
    fn forget(&self, path: &StorePath) -> Result<bool> {
        match self.store.db.invalidate(path) {
            Ok(()) => Ok(true),
            Err(error) if error.is_path_in_use() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Those of `lost` that something refers to which is there, directly or not.
    fn needed_among(&self, lost: &StorePathSet) -> Result<StorePathSet> {
        let mut needed = StorePathSet::new();
        loop {
            let before = needed.len();
            for path in lost.difference(&needed.clone()) {
                let referrers = self.other_referrers(path)?;
                if referrers
                    .iter()
                    .any(|r| !lost.contains(r) || needed.contains(r))
                {
                    needed.insert(path.clone());
                }
            }
            if needed.len() == before {
                return Ok(needed);
            }
        }
    }

    fn is_needed(&self, path: &StorePath, is_there: &dyn Fn(&StorePath) -> bool) -> Result<bool> {
        Ok(self.other_referrers(path)?.iter().any(is_there))
    }

    pub(super) fn other_referrers(&self, path: &StorePath) -> Result<StorePathSet> {
        let mut referrers = self.store.db.query_referrers(path)?;
        referrers.remove(path);
        Ok(referrers)
    }

    pub(super) fn disappeared(&self, path: &StorePath, has_valid_referrers: bool) -> VerifyProblem {
        VerifyProblem::Disappeared {
            path: self.store.full_path(path),
            has_valid_referrers,
        }
    }
}
