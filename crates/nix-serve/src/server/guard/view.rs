//! What exists for a client.
//!
//! Everything else is as if it weren't valid: in answers, as a reference of what is added,
//! as an input of a build, in closures. What a key was let see it sees as long as the path
//! stays valid: one that was collected and made valid again by somebody else is hidden.

use nix_base::{StorePath, StorePathSet, ValidPathInfo};
use nix_store_core::trust::Charge;
use nix_store_core::{Error, IncludeOutputs, Lock, Result, Store};

use super::Guard;

impl Guard<'_> {
    /// Those of `paths` that the client may know of; a client that sees only a part of the
    /// store sees none that isn't valid.
    pub(in crate::server) fn seen(&self, paths: &StorePathSet) -> Result<StorePathSet> {
        if self.sees_everything() || paths.is_empty() {
            return Ok(paths.clone());
        }
        let mut seen = self.granted(paths)?;
        seen.extend(paths.intersection(self.exposed()?).cloned());
        Ok(seen)
    }

    /// Whether the client may know of `path`.
    pub(in crate::server) fn sees(&self, path: &StorePath) -> Result<bool> {
        Ok(self.sees_everything() || !self.seen(&[path.clone()].into())?.is_empty())
    }

    /// Those of `paths` that are to be treated as if they weren't valid, whether they are.
    pub(in crate::server) fn hidden(&self, paths: &StorePathSet) -> Result<StorePathSet> {
        let seen = self.seen(paths)?;
        Ok(paths.difference(&seen).cloned().collect())
    }

    /// Those of `paths` that are valid as far as the client knows, kept from collectors if
    /// they are to be.
    pub(in crate::server) fn valid(
        &self,
        paths: &StorePathSet,
        lock: Lock,
    ) -> Result<StorePathSet> {
        if self.sees_everything() {
            return self.store.query_valid_paths(paths, lock);
        }
        if lock == Lock::Yes {
            self.store.add_temp_roots(paths)?;
        }
        let mut valid = self.granted(paths)?;
        // What was granted is valid, what a root exposed may be gone.
        let exposed: StorePathSet = paths.intersection(self.exposed()?).cloned().collect();
        if !exposed.is_subset(&valid) {
            valid.extend(self.store.query_valid_paths(&exposed, Lock::No)?);
        }
        Ok(valid)
    }

    /// Those of `paths` that the client brought or built and that are valid.
    fn granted(&self, paths: &StorePathSet) -> Result<StorePathSet> {
        match self.role.scope() {
            Some(scope) => self.trust()?.visible(&scope, self.store.db(), paths),
            None => Ok(StorePathSet::new()),
        }
    }

    /// Refuses, in the words for paths that aren't valid, if there is one among `paths` that
    /// the client doesn't see.
    pub(in crate::server) fn require_seen(&self, paths: &StorePathSet) -> Result<()> {
        let seen = self.seen(paths)?;
        match paths.difference(&seen).next() {
            Some(hidden) => Err(Error::not_valid(self.dir(), hidden)),
            None => Ok(()),
        }
    }

    /// The closure of `roots` as far as the client sees it.
    pub(in crate::server) fn closure(
        &self,
        roots: &StorePathSet,
        include_outputs: IncludeOutputs,
    ) -> Result<StorePathSet> {
        if self.sees_everything() {
            return self.store.closure(roots, include_outputs);
        }
        self.require_seen(roots)?;
        let mut roots = roots.clone();
        loop {
            let closure = self.seen(&self.store.closure(&roots, IncludeOutputs::No)?)?;
            if include_outputs == IncludeOutputs::No {
                return Ok(closure);
            }
            // What is reached through a hidden output only would tell that it is there.
            let outputs = self.outputs_of(&closure)?;
            if outputs.is_subset(&closure) {
                return Ok(closure);
            }
            roots = closure;
            roots.extend(outputs);
        }
    }

    /// The outputs of the derivations among `paths` that are valid and seen.
    fn outputs_of(&self, paths: &StorePathSet) -> Result<StorePathSet> {
        let mut outputs = StorePathSet::new();
        for drv in paths.iter().filter(|path| path.is_derivation()) {
            let recorded = self.store.query_derivation_outputs(drv)?;
            outputs.extend(recorded.into_iter().map(|(_, path)| path));
        }
        self.valid(&outputs, Lock::No)
    }

    /// Takes from the metadata of a path what the client doesn't know of otherwise.
    pub(in crate::server) fn redact(&self, info: &mut ValidPathInfo) -> Result<()> {
        if let Some(deriver) = &info.info.deriver
            && !self.sees(deriver)?
        {
            info.info.deriver = None;
        }
        Ok(())
    }

    /// Lets the client see paths from now on, which it brought or built and which are valid;
    /// they count towards what the key stores.
    pub(in crate::server) fn grant(&self, paths: &StorePathSet) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let (account, scope) = (self.account(), self.role.scope());
        if let Some(account) = &account {
            let db = self.store.db();
            self.trust()?.grant(account, db, paths, Charge::Size)?;
        }
        match scope {
            Some(scope) if account.as_ref() != Some(&scope) => {
                let db = self.store.db();
                self.trust()?.grant(&scope, db, paths, Charge::Nothing)
            }
            _ => Ok(()),
        }
    }

    fn exposed(&self) -> Result<&StorePathSet> {
        if let Some(exposed) = self.exposed.get() {
            return Ok(exposed);
        }
        let roots: StorePathSet = self.role.exposed.iter().cloned().collect();
        let closure = match roots.is_empty() {
            true => roots,
            false => {
                let roots = self.store.query_valid_paths(&roots, Lock::No)?;
                self.store.closure(&roots, IncludeOutputs::No)?
            }
        };
        Ok(self.exposed.get_or_init(|| closure))
    }
}
