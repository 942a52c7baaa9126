//! What holds for one connection.

use std::collections::BTreeSet;

use nix_base::{PublicKey, StorePath};

use super::Capability;

/// Which paths exist for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// All valid paths.
    #[default]
    Everything,
    /// What the key brought or built, and the closures of [`Role::exposed`]; everything
    /// else counts as not valid.
    Own,
}

/// What a key may use up; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Bytes of NARs that the key added by imports and builds.
    pub stored_bytes: Option<u64>,
    /// Builds that run for the key at the same time.
    pub slots: Option<u64>,
    /// Seconds that the key's builds ran, in total.
    pub build_seconds: Option<u64>,
}

/// What a client may do on one connection.
#[derive(Debug, Clone)]
pub struct Role {
    /// The client's name in views, quotas and the audit log.
    pub key: Option<String>,
    /// What it may do.
    pub capabilities: BTreeSet<Capability>,
    /// What it sees.
    pub view: View,
    /// Roots whose closures it sees with [`View::Own`].
    pub exposed: Vec<StorePath>,
    /// What it may use up.
    pub quotas: Quotas,
    /// Variables that its fixed-output builds may get from the server, by name.
    pub impure_env_vars: BTreeSet<String>,
    /// Whether md5 and sha1 are good enough for content addresses.
    pub weak_hashes: bool,
    /// System features its builds may ask for; `None` is whatever the server has.
    pub system_features: Option<BTreeSet<String>>,
    /// Keys whose signatures make a path acceptable.
    pub trusted_keys: Vec<PublicKey>,
    /// Whether its view is one with those of the other keys that share theirs.
    pub shared_view: bool,
}

impl Role {
    /// `serve` without `--write`.
    #[must_use]
    pub fn read_only() -> Self {
        Self::trusted(Capability::READ_ONLY)
    }

    /// `serve --write`: everything.
    #[must_use]
    pub fn full() -> Self {
        Self::trusted(Capability::ALL)
    }

    /// `serve --write --untrusted`: only what can't harm others.
    #[must_use]
    pub fn untrusted(key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            capabilities: Capability::UNTRUSTED.into(),
            view: View::Own,
            weak_hashes: false,
            system_features: Some(BTreeSet::new()),
            ..Self::full()
        }
    }

    fn trusted(capabilities: impl IntoIterator<Item = Capability>) -> Self {
        Self {
            key: None,
            capabilities: capabilities.into_iter().collect(),
            view: View::Everything,
            exposed: Vec::new(),
            quotas: Quotas::default(),
            impure_env_vars: BTreeSet::new(),
            weak_hashes: true,
            system_features: None,
            trusted_keys: Vec::new(),
            shared_view: false,
        }
    }

    /// Whether the client may do this.
    #[must_use]
    pub fn allows(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// Whether nothing is checked that upstream's `--write` doesn't check: imports and
    /// builds go by the client's word.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.allows(Capability::ImportAny) && self.allows(Capability::BuildAny)
    }

    /// Whether the client may change the store at all.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.capabilities.iter().any(|one| !one.only_reads())
    }

    /// Under which name the paths are kept that the client sees, and within which its
    /// builds are joined; `None` if it sees everything, or nothing but what is exposed.
    ///
    /// Keys that share their view share the name. No key's own name collides with that of
    /// the shared view or of clients without a key.
    #[must_use]
    pub fn scope(&self) -> Option<String> {
        match (self.view, &self.key) {
            (View::Everything, _) => None,
            (View::Own, _) if self.shared_view => Some("shared".to_owned()),
            (View::Own, Some(key)) => Some(format!("key:{key}")),
            (View::Own, None) if self.writes() => Some("unnamed".to_owned()),
            (View::Own, None) => None,
        }
    }
}
