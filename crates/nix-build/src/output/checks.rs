//! What a derivation demands of its outputs: what they may refer to, and how large they
//! may be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use nix_base::{BuildStatus, OutputName, StorePath, StorePathSet, ValidPathInfo};
use nix_drv::DerivationOptions;
use nix_drv::options::{OptionRef, OutputCheck};
use nix_store_core::{LocalStore, Store};

use crate::failure::{BuildFailure, Result};

/// The outputs of a build, all of them, and those that it made.
pub(super) struct Checker<'c> {
    pub(super) store: &'c LocalStore,
    /// Every output, those included that were valid before.
    pub(super) all: &'c BTreeMap<OutputName, ValidPathInfo>,
    /// By path, since they aren't in the store yet.
    pub(super) new: HashMap<&'c StorePath, &'c ValidPathInfo>,
}

impl Checker<'_> {
    /// Checks what the build made.
    pub(super) fn check(&self, options: &DerivationOptions) -> Result<()> {
        for (name, info) in self.all {
            if self.new.contains_key(&info.path)
                && let Some(check) = options.check_of(name)
            {
                self.check_output(info, check)?;
            }
        }
        Ok(())
    }

    fn check_output(&self, info: &ValidPathInfo, check: &OutputCheck) -> Result<()> {
        let path = || self.store.store_dir().print(&info.path);
        if let Some(limit) = check.max_size
            && info.nar_size > limit
        {
            let size = info.nar_size;
            return Err(rejected(format!(
                "path '{}' is too large at {size} bytes; limit is {limit} bytes",
                path()
            )));
        }
        let closure = match needs_closure(check) {
            true => self.closure(info)?,
            false => Closure::default(),
        };
        if let Some(limit) = check.max_closure_size
            && closure.size > limit
        {
            let size = closure.size;
            return Err(rejected(format!(
                "closure of path '{}' is too large at {size} bytes; limit is {limit} bytes",
                path()
            )));
        }
        let mut requisites = closure.paths;
        if check.ignore_self_refs {
            requisites.remove(&info.path);
        }
        if let Some(allowed) = &check.allowed_references {
            let allowed = self.resolve(allowed)?;
            self.refuse(info, info.references.difference(&allowed))?;
        }
        if let Some(allowed) = &check.allowed_requisites {
            let allowed = self.resolve(allowed)?;
            self.refuse(info, requisites.difference(&allowed))?;
        }
        let forbidden = self.resolve(&check.disallowed_references)?;
        self.refuse(info, info.references.intersection(&forbidden))?;
        let forbidden = self.resolve(&check.disallowed_requisites)?;
        self.refuse(info, requisites.intersection(&forbidden))
    }

    /// The paths that a list speaks of.
    fn resolve(&self, list: &BTreeSet<OptionRef>) -> Result<StorePathSet> {
        let path_of = |reference: &OptionRef| match reference {
            OptionRef::Path(path) => Ok(path.clone()),
            OptionRef::Own(output) => match self.all.get(output) {
                Some(info) => Ok(info.path.clone()),
                None => Err(rejected(format!(
                    "derivation contains an illegal reference specifier '{output}'"
                ))),
            },
            // Placeholders of inputs are gone from a derivation that can be built.
            OptionRef::Input { drv, output } => Err(rejected(format!(
                "derivation contains an illegal reference specifier '{}!{output}'",
                self.store.store_dir().print(drv),
            ))),
        };
        list.iter().map(path_of).collect()
    }

    fn refuse<'p>(
        &self,
        info: &ValidPathInfo,
        bad: impl Iterator<Item = &'p StorePath>,
    ) -> Result<()> {
        let dir = self.store.store_dir();
        let mut list = String::new();
        for path in bad {
            // Writing to a string can't fail.
            let _ = write!(list, "\n  {}", dir.display(path));
        }
        if list.is_empty() {
            return Ok(());
        }
        Err(rejected(format!(
            "output '{}' is not allowed to refer to the following paths:{list}",
            dir.display(&info.path)
        )))
    }

    /// Everything that an output needs, itself included.
    fn closure(&self, info: &ValidPathInfo) -> Result<Closure> {
        let mut closure = Closure::default();
        let mut outside = StorePathSet::new();
        let mut left = vec![&info.path];
        while let Some(path) = left.pop() {
            let Some(new) = self.new.get(path) else {
                outside.insert(path.clone());
                continue;
            };
            if closure.paths.insert(path.clone()) {
                closure.size = closure.size.saturating_add(new.nar_size);
                left.extend(&new.references);
            }
        }
        let outside = self
            .store
            .closure(&outside, nix_store_core::db::IncludeOutputs::No)?;
        self.store.query_path_infos(&outside, &mut |info| {
            closure.size = closure.size.saturating_add(info.nar_size);
            Ok(())
        })?;
        closure.paths.extend(outside);
        Ok(closure)
    }
}

#[derive(Default)]
struct Closure {
    paths: StorePathSet,
    /// Bytes of all archives.
    size: u64,
}

fn needs_closure(check: &OutputCheck) -> bool {
    check.max_closure_size.is_some()
        || check.allowed_requisites.is_some()
        || !check.disallowed_requisites.is_empty()
}

fn rejected(message: String) -> BuildFailure {
    BuildFailure::new(BuildStatus::OutputRejected, message)
}
