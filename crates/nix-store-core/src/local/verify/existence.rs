//! Valid paths that have no object.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use nix_base::{StorePath, StorePathSet};

use super::options::Remedy;
use super::problem::VerifyProblem;
use super::{Check, Outcome};
use crate::error::Result;

impl Check<'_, '_, '_> {
    /// Those of `paths` that have no object.
    pub(super) fn missing_among(&self, paths: &StorePathSet) -> Result<StorePathSet> {
        let present = match self.options.paths {
            None => Some(self.store.list_objects()?),
            // A few are looked for one by one.
            Some(_) => None,
        };
        let is_there = |path: &&StorePath| match &present {
            Some(names) => names.contains(OsStr::new(&path.to_string())),
            None => self.store.has_object(path),
        };
        let missing = paths.iter().filter(|path| !is_there(path));
        Ok(missing.cloned().collect())
    }

    /// Settles what has no object. Collectors and others may be at work.
    pub(super) fn settle_missing(&mut self, missing: StorePathSet) -> Result<()> {
        let mut lost = BTreeMap::new();
        for path in missing {
            if self.watch.is_cancelled() {
                self.report.cancelled = true;
                break;
            }
            if !self.store.is_read_only() {
                self.store.add_temp_root(&path)?;
            }
            if !self.store.is_valid(&path)? {
                continue;
            }
            self.report.paths += 1;
            self.watch.looks_at(&path);
            match self.restore(&path) {
                Outcome::Repaired => {
                    let problem = self.disappeared(&path, self.is_needed(&path)?);
                    self.settle(problem, |_| Ok(Outcome::Repaired))?;
                }
                outcome => drop(lost.insert(path, outcome)),
            }
        }
        self.settle_lost(lost)
    }

    /// Forgets what is lost and not needed by anything that is there; reports the rest.
    fn settle_lost(&mut self, mut lost: BTreeMap<StorePath, Outcome>) -> Result<()> {
        let may_forget = |outcome: &Outcome| match outcome {
            // A source that could not be asked may have it the next time.
            Outcome::Failed(error) => error.is_final(),
            _ => true,
        };
        // Whatever refers to others goes before them.
        let mut goes_on = self.options.remedy != Remedy::Report;
        while std::mem::take(&mut goes_on) {
            let candidates = lost.iter().filter(|(_, outcome)| may_forget(outcome));
            let candidates: Vec<StorePath> = candidates.map(|(path, _)| path.clone()).collect();
            for path in candidates {
                if self.other_referrers(&path)?.is_empty() && self.forget(&path)? {
                    lost.remove(&path);
                    goes_on = true;
                    let problem = self.disappeared(&path, false);
                    self.settle(problem, |_| Ok(Outcome::Forgotten))?;
                }
            }
        }
        let needed = self.needed_among(&lost.keys().cloned().collect())?;
        for (path, outcome) in lost {
            if self.store.has_object(&path) {
                // Another repair has brought it back.
                continue;
            }
            let problem = self.disappeared(&path, needed.contains(&path));
            self.settle(problem, |_| Ok(outcome))?;
        }
        Ok(())
    }

    /// Whether the database forgot the path; not if somebody has brought it back, or something came
    /// to refer to it.
    fn forget(&self, path: &StorePath) -> Result<bool> {
        self.repairer.locked(path, || {
            if self.store.has_object(path) {
                return Ok(false);
            }
            match self.store.db.invalidate(path) {
                Ok(()) => Ok(true),
                Err(error) if error.is_path_in_use() => Ok(false),
                Err(error) => Err(error),
            }
        })
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

    fn is_needed(&self, path: &StorePath) -> Result<bool> {
        let referrers = self.other_referrers(path)?;
        Ok(referrers.iter().any(|path| self.store.has_object(path)))
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
