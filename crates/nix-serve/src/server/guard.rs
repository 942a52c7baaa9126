//! What stands between a client and the store: its role, checked before each command, and
//! what it may see and use up.
//!
//! ```text
//! command word ─ known? ─ allowed to the role? ─ arguments ─┬─ view      what exists for it
//!                                                           ├─ imports   what it may add
//!                                                           ├─ evidence  what it may build
//!                                                           └─ quotas    how much of it
//! ```
//!
//! A role that sees and may do everything passes without a look at the table of keys.

mod imports;
mod quotas;
mod requester;
mod texts;
mod view;

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;

use nix_base::{StoreDir, StorePathSet};
use nix_drv::HashMemo;
use nix_store_core::LocalStore;
use nix_store_core::trust::TrustDb;

pub(super) use imports::Announced;

use super::refusal::{Refusal, Rule};
use super::{Audit, ServeError, ServeOptions};
use crate::policy::{Capability, Role, View};
use crate::proto::ServeCommand;

/// The role of a connection at work.
pub(super) struct Guard<'s> {
    role: &'s Role,
    audit: &'s dyn Audit,
    store: &'s LocalStore,
    trust: OnceCell<TrustDb>,
    /// The closures of the roots that the role shows.
    exposed: OnceCell<StorePathSet>,
    /// Imports that were let in and aren't acknowledged yet, in their order.
    announced: RefCell<VecDeque<Announced>>,
    /// Hashes of derivation files that were read, to be read once.
    hashes: RefCell<HashMemo>,
    unwritten: RefCell<texts::Unwritten>,
}

impl<'s> Guard<'s> {
    pub(super) fn new(options: &'s ServeOptions, store: &'s LocalStore) -> Self {
        Self {
            role: &options.role,
            audit: &*options.audit,
            store,
            trust: OnceCell::new(),
            exposed: OnceCell::new(),
            announced: RefCell::default(),
            hashes: RefCell::default(),
            unwritten: RefCell::default(),
        }
    }

    pub(super) fn role(&self) -> &'s Role {
        self.role
    }

    pub(super) fn audit(&self) -> &'s dyn Audit {
        self.audit
    }

    pub(super) fn store(&self) -> &'s LocalStore {
        self.store
    }

    pub(super) fn dir(&self) -> &'s StoreDir {
        self.store.store_dir()
    }

    pub(super) fn hashes(&self) -> &RefCell<HashMemo> {
        &self.hashes
    }

    pub(super) fn sees_everything(&self) -> bool {
        self.role.view == View::Everything
    }

    /// What is known of keys, opened when it is first needed.
    pub(super) fn trust(&self) -> nix_store_core::Result<&TrustDb> {
        if let Some(trust) = self.trust.get() {
            return Ok(trust);
        }
        let trust = TrustDb::open(&self.store.layout().state)?;
        Ok(self.trust.get_or_init(|| trust))
    }

    /// The name that what is used up is booked under, if it is.
    pub(super) fn account(&self) -> Option<String> {
        // As in the names of views: no key is called like the view that keys share.
        self.role.key.as_ref().map(|key| format!("key:{key}"))
    }

    /// Whether the role may give this command at all; its arguments aren't read yet.
    pub(super) fn check_command(&self, command: ServeCommand) -> Result<(), ServeError> {
        let needed = needed(command);
        if needed.is_empty() || needed.iter().any(|one| self.role.allows(*one)) {
            return self.check_form(command);
        }
        let importing = matches!(
            command,
            ServeCommand::ImportPaths | ServeCommand::AddToStoreNar
        );
        // Whoever has a name is under a policy, which may be what withholds it.
        if command.needs_write() && !self.role.writes() && self.role.key.is_none() {
            let what = match importing {
                true => "importing paths",
                false => "building paths",
            };
            return Err(ServeError::NotAllowed { what });
        }
        let words: Vec<String> = needed.iter().map(|one| format!("'{one}'")).collect();
        let what = format!("command {command} is not allowed to this key");
        Err(Refusal::new(Rule::Capability, what)
            .unless(format!("capability {}", words.join(" or ")))
            .into())
    }

    /// Export streams carry nothing that a path could be checked by.
    fn check_form(&self, command: ServeCommand) -> Result<(), ServeError> {
        if command != ServeCommand::ImportPaths {
            return Ok(());
        }
        if !self.role.allows(Capability::ImportAny) {
            let what = "objects of an export stream have neither content address nor signature";
            return Err(Refusal::new(Rule::ContentAddress, what)
                .unless("capability 'import-any'")
                .into());
        }
        if !self.sees_everything() {
            let what = "export streams are not taken from keys that see only a part of the store";
            return Err(Refusal::new(Rule::View, what).into());
        }
        Ok(())
    }
}

/// Capabilities of which one is needed for a command.
fn needed(command: ServeCommand) -> &'static [Capability] {
    match command {
        ServeCommand::QueryValidPaths
        | ServeCommand::QueryPathInfos
        | ServeCommand::QueryClosure => &[Capability::Query],
        ServeCommand::DumpStorePath | ServeCommand::ExportPaths => &[Capability::Dump],
        ServeCommand::ImportPaths | ServeCommand::AddToStoreNar => &[
            Capability::ImportCa,
            Capability::ImportSigned,
            Capability::ImportAny,
        ],
        ServeCommand::BuildPaths
        | ServeCommand::BuildDerivation
        | ServeCommand::QueryProofTexts
        | ServeCommand::BuildDerivationWithProof => {
            &[Capability::BuildVerified, Capability::BuildAny]
        }
        ServeCommand::AnnounceFeatures => &[],
    }
}

#[cfg(test)]
mod tests;
