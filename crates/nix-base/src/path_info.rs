//! What a store knows of a valid path.

mod order;

use std::collections::BTreeSet;
use std::ops::Deref;

use crate::content_address::ContentAddress;
use crate::hash::NarHash;
use crate::signature::{PublicKey, SecretKey, Signature, fingerprint};
use crate::store_dir::StoreDir;
use crate::store_path::{StorePath, StorePathSet};

pub use order::{ReferenceCycle, reference_order, references_first};

/// Metadata of an object, without its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnkeyedValidPathInfo {
    /// The derivation it was built from, as its builder or copier said.
    pub deriver: Option<StorePath>,
    /// Objects whose paths occur in its content, itself included if it does.
    pub references: StorePathSet,
    /// SHA-256 of the NAR.
    pub nar_hash: NarHash,
    /// Length of the NAR in bytes; 0 when a store does not know it.
    pub nar_size: u64,
    /// Seconds since 1970; 0 when unknown.
    pub registration_time: i64,
    /// Built here, from a derivation: trusted as if signed by this store.
    pub ultimate: bool,
    /// Signatures as received.
    pub sigs: BTreeSet<Signature>,
    /// How the path follows from the content, if it does.
    pub ca: Option<ContentAddress>,
}

impl UnkeyedValidPathInfo {
    /// An info of which only the NAR is known.
    #[must_use]
    pub const fn new(nar_hash: NarHash, nar_size: u64) -> Self {
        Self {
            deriver: None,
            references: StorePathSet::new(),
            nar_hash,
            nar_size,
            registration_time: 0,
            ultimate: false,
            sigs: BTreeSet::new(),
            ca: None,
        }
    }
}

/// A valid path and its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidPathInfo {
    /// The path.
    pub path: StorePath,
    /// Its metadata.
    pub info: UnkeyedValidPathInfo,
}

impl ValidPathInfo {
    /// The text that signatures cover.
    #[must_use]
    pub fn fingerprint(&self, dir: &StoreDir) -> String {
        fingerprint(
            dir,
            &self.path,
            &self.info.nar_hash,
            self.info.nar_size,
            &self.info.references,
        )
    }

    /// Adds a signature by `key`.
    pub fn sign(&mut self, dir: &StoreDir, key: &SecretKey) {
        let signature = key.sign(self.fingerprint(dir).as_bytes());
        self.info.sigs.insert(signature);
    }

    /// Whether one of `keys` signed this.
    #[must_use]
    pub fn is_signed_by(&self, dir: &StoreDir, keys: &[PublicKey]) -> bool {
        if self.info.sigs.is_empty() || keys.is_empty() {
            return false;
        }
        let text = self.fingerprint(dir);
        let signed = |sig| keys.iter().any(|key| key.verifies(text.as_bytes(), sig));
        self.info.sigs.iter().any(signed)
    }

    /// The names of those of `keys` that signed this, one for each signature that verifies.
    #[must_use]
    pub fn trusted_signers<'k>(&self, dir: &StoreDir, keys: &'k [PublicKey]) -> Vec<&'k str> {
        if self.info.sigs.is_empty() || keys.is_empty() {
            return Vec::new();
        }
        let text = self.fingerprint(dir);
        let signer = |sig| {
            let mut keys = keys.iter();
            keys.find(|key| key.verifies(text.as_bytes(), sig))
                .map(PublicKey::name)
        };
        self.info.sigs.iter().filter_map(signer).collect()
    }

    /// Whether the path follows from the content address; `None` if there is none.
    #[must_use]
    pub fn content_address_matches(&self, dir: &StoreDir) -> Option<bool> {
        let ca = self.info.ca.as_ref()?;
        Some(ca.matches(dir, &self.path, &self.info.references))
    }
}

impl Deref for ValidPathInfo {
    type Target = UnkeyedValidPathInfo;

    fn deref(&self) -> &UnkeyedValidPathInfo {
        &self.info
    }
}
