//! What a client may add.
//!
//! ```text
//! import-any      on the client's word, as upstream's --write
//! import-signed   a trusted key signed path, hash, size and references together
//! import-ca       the path follows from the content address, and that from the bytes
//! ```
//!
//! Hash and size of the archive are checked for everybody. What is valid already, but hidden
//! from the client, is taken in again as a whole before the client sees it.

use nix_base::{ContentAddress, HashAlgo, NarHash, StorePath, StorePathSet, ValidPathInfo};
use nix_store_core::{Scrutiny, Store};

use super::Guard;
use crate::policy::Capability;
use crate::server::ServeError;
use crate::server::refusal::{Refusal, Rule};

/// An import that was let in.
#[derive(Debug, Clone)]
pub(in crate::server) struct Announced {
    pub(in crate::server) path: StorePath,
    pub(in crate::server) nar_size: u64,
    nar_hash: NarHash,
    references: StorePathSet,
}

impl Guard<'_> {
    /// Decides on an import by what is announced of it, before its archive is read. Facts
    /// that only the client knows are dropped.
    pub(in crate::server) fn admit(
        &self,
        info: &mut ValidPathInfo,
    ) -> Result<Scrutiny, ServeError> {
        // Nobody else can know that an object was built here.
        info.info.ultimate = false;
        let is_free = self.role.allows(Capability::ImportAny);
        let mut scrutiny = Scrutiny::default();
        if !is_free {
            info.info.registration_time = 0;
            info.info.deriver = None;
            scrutiny.omitted_positions = self.check_origin(info)?;
        }
        if !self.sees_everything() {
            scrutiny.always_unpack = true;
            scrutiny.complete_derivations = true;
            self.require_known_references(info)?;
        }
        self.check_stored_bytes(self.announced_bytes().saturating_add(info.info.nar_size))?;
        Ok(scrutiny)
    }

    /// Takes note of an import whose archive is staged.
    pub(in crate::server) fn staged(&self, info: Announced) {
        self.announced.borrow_mut().push_back(info);
    }

    /// Lets the client see the next `count` imports, which are valid now.
    ///
    /// # Errors
    /// One of them was valid before with another content: the client doesn't get to see
    /// that. Those before it count.
    pub(in crate::server) fn imported(
        &self,
        count: usize,
    ) -> (Vec<Announced>, Result<(), ServeError>) {
        let mut done = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(next) = self.announced.borrow_mut().pop_front() else {
                break;
            };
            if let Err(error) = self.grant_import(&next) {
                self.announced.borrow_mut().push_front(next);
                return (done, Err(error));
            }
            done.push(next);
        }
        (done, Ok(()))
    }

    /// The next import that isn't acknowledged.
    pub(in crate::server) fn next_announced(&self) -> Option<Announced> {
        self.announced.borrow().front().cloned()
    }

    fn grant_import(&self, import: &Announced) -> Result<(), ServeError> {
        if !self.sees_everything() && !self.sees(&import.path)? {
            let stored = self.store.query_path_info(&import.path)?;
            let is_same = stored.is_some_and(|stored| {
                stored.info.nar_hash == import.nar_hash
                    && stored.info.references == import.references
            });
            if !is_same {
                let path = self.dir().print(&import.path);
                let what = format!("'{path}' is in the store with other contents");
                return Err(Refusal::new(Rule::View, what).into());
            }
        }
        Ok(self.grant(&[import.path.clone()].into())?)
    }

    /// Checks by what the object may come in; says whether the content address of other
    /// releases will do.
    fn check_origin(&self, info: &mut ValidPathInfo) -> Result<bool, ServeError> {
        let keys = &self.role.trusted_keys;
        let may_sign = self.role.allows(Capability::ImportSigned);
        // Signatures that don't verify are claims of the client's.
        let text = info.fingerprint(self.dir());
        info.info
            .sigs
            .retain(|sig| keys.iter().any(|key| key.verifies(text.as_bytes(), sig)));
        if may_sign && !info.info.sigs.is_empty() {
            return Ok(true);
        }
        let path = self.dir().print(&info.path);
        match &info.info.ca {
            Some(ca) if self.role.allows(Capability::ImportCa) => {
                self.check_address(&path, ca)?;
                if info.content_address_matches(self.dir()) != Some(true) {
                    let what = format!("'{path}' does not follow from its content address '{ca}'");
                    return Err(Refusal::new(Rule::ContentAddress, what).into());
                }
                Ok(false)
            }
            Some(_) => Err(unsigned(
                &path,
                "is not signed by a trusted key",
                "import-ca",
            )),
            None if may_sign => Err(unsigned(
                &path,
                "has no content address and no signature by a trusted key",
                "import-any",
            )),
            None => Err(Refusal::new(
                Rule::ContentAddress,
                format!("'{path}' has no content address"),
            )
            .unless("capability 'import-signed' with a signature by a trusted key")
            .into()),
        }
    }

    fn check_address(&self, path: &str, ca: &ContentAddress) -> Result<(), ServeError> {
        let is_weak = matches!(ca.hash.algo(), HashAlgo::Md5 | HashAlgo::Sha1);
        if is_weak && !self.role.weak_hashes {
            let what = format!(
                "'{path}' is addressed by {}, for which other contents can be made",
                ca.hash.algo()
            );
            return Err(Refusal::new(Rule::Confinement, what)
                .unless("'weak-hashes' in the policy")
                .into());
        }
        Ok(())
    }

    /// What the object refers to must exist for the client; it may be on its way.
    fn require_known_references(&self, info: &ValidPathInfo) -> Result<(), ServeError> {
        let mut others = info.info.references.clone();
        others.remove(&info.path);
        for one in &*self.announced.borrow() {
            others.remove(&one.path);
        }
        Ok(self.require_seen(&others)?)
    }

    fn announced_bytes(&self) -> u64 {
        let announced = self.announced.borrow();
        announced
            .iter()
            .fold(0, |sum, one| sum.saturating_add(one.nar_size))
    }
}

impl From<&ValidPathInfo> for Announced {
    fn from(info: &ValidPathInfo) -> Self {
        Self {
            path: info.path.clone(),
            nar_size: info.info.nar_size,
            nar_hash: info.info.nar_hash,
            references: info.info.references.clone(),
        }
    }
}

fn unsigned(path: &str, why: &str, capability: &str) -> ServeError {
    Refusal::new(Rule::Signature, format!("'{path}' {why}"))
        .unless(format!(
            "a signature by a key that the policy trusts, or capability '{capability}',"
        ))
        .into()
}
