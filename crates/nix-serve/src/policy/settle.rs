//! From flags and a policy file to the role in force.
//!
//! Both hold: what either withholds is withheld. Where neither says anything, an untrusted
//! client gets the safe set, and any other what `--write` stands for.

use std::collections::BTreeSet;
use std::path::Path;

use nix_base::{PublicKey, StoreDir, StorePath};

use super::file::{Entry, TrustedKey};
use super::{Capability, KeyName, PolicyError, PolicyFile, Role, View};

/// The flags of `serve`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// `--write`: the client may change the store.
    pub write: bool,
    /// `--untrusted`: but not harm anyone.
    pub untrusted: bool,
    /// `--allow`: these and nothing else.
    pub allow: Option<BTreeSet<Capability>>,
    /// `--as`: the client's name.
    pub key: Option<KeyName>,
    /// `--expose`: roots of what the client sees.
    pub expose: Vec<StorePath>,
}

impl Wish {
    /// Whether the flags are those of upstream alone: no policy takes part.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let plain = Self {
            write: self.write,
            ..Self::default()
        };
        *self == plain
    }

    /// Refuses flags that exclude each other. This needs no look at anything else.
    ///
    /// # Errors
    /// Names the flags.
    pub fn check(&self) -> Result<(), PolicyError> {
        if self.untrusted && !self.write {
            return Err(PolicyError::Flags(
                "'--untrusted' says what a client that may write is trusted with: it needs \
                 '--write'"
                    .to_owned(),
            ));
        }
        let Some(allow) = &self.allow else {
            return Ok(());
        };
        allow.iter().try_for_each(|one| self.admit(*one))?;
        check_set(allow).map_err(PolicyError::Flags)
    }

    /// Refuses a capability on the command line that other flags rule out.
    fn admit(&self, capability: Capability) -> Result<(), PolicyError> {
        let reason = match () {
            () if !self.write && !capability.only_reads() => "it needs '--write'",
            () => match self.excluded_for_untrusted(capability) {
                Some(reason) => reason,
                None => return Ok(()),
            },
        };
        Err(PolicyError::Excluded {
            capability,
            at: None,
            reason,
        })
    }

    fn excluded_for_untrusted(&self, capability: Capability) -> Option<&'static str> {
        (self.untrusted && capability.needs_trust())
            .then_some("an untrusted client could do harm with it")
    }

    /// What the flags alone allow, the policy aside.
    fn base(&self) -> BTreeSet<Capability> {
        match &self.allow {
            Some(allow) => allow.clone(),
            None if self.untrusted => Capability::UNTRUSTED.into(),
            None if self.write => Capability::ALL.into(),
            None => Capability::READ_ONLY.into(),
        }
    }
}

/// What roles take from around them.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// Where the policy file is, or would be.
    pub location: &'a Path,
    /// The policy file, if there is one.
    pub policy: Option<&'a PolicyFile>,
    /// The store's directory; exposed paths in the policy are in it.
    pub store_dir: &'a StoreDir,
    /// Whose signatures count where the policy names nobody.
    pub trusted_keys: Vec<PublicKey>,
}

/// Settles what holds for a connection.
///
/// # Errors
/// Contradictions, and names that the policy doesn't know. There's no role to fall back to.
pub fn settle(wish: &Wish, around: Surroundings<'_>) -> Result<Role, PolicyError> {
    wish.check()?;
    if wish.is_plain() {
        return Ok(match wish.write {
            true => Role::full(),
            false => Role::read_only(),
        });
    }
    let entry = entry(wish, &around)?;
    let capabilities = match (&entry, around.policy) {
        (Some(entry), Some(policy)) => capabilities(wish, entry, policy)?,
        _ => wish.base(),
    };
    let key = match &wish.key {
        None if wish.write => Some(KeyName::unnamed()),
        key => key.clone(),
    };
    let mut role = Role {
        capabilities,
        key: key.map(|key| key.as_str().to_owned()),
        ..Role::full()
    };
    if !role.is_full() {
        role.weak_hashes = false;
        role.system_features = Some(BTreeSet::new());
    }
    if wish.untrusted || !wish.expose.is_empty() {
        role.view = View::Own;
    }
    role.exposed.clone_from(&wish.expose);
    role.trusted_keys = around.trusted_keys;
    if let (Some(entry), Some(policy)) = (entry, around.policy) {
        role.apply(entry, policy, around.store_dir)?;
    }
    Ok(role)
}

/// What the policy says about the client.
fn entry(wish: &Wish, around: &Surroundings<'_>) -> Result<Option<Entry>, PolicyError> {
    let named = wish.key.as_ref();
    let Some(policy) = around.policy else {
        return match named {
            Some(key) if wish.write && !wish.untrusted && wish.allow.is_none() => {
                Err(PolicyError::NoPolicy {
                    key: key.clone(),
                    file: around.location.to_owned(),
                })
            }
            _ => Ok(None),
        };
    };
    let unnamed = KeyName::unnamed();
    let key = named.unwrap_or(&unnamed);
    match policy.entry(key) {
        None if named.is_some() => Err(PolicyError::UnknownKey {
            key: key.clone(),
            file: policy.path().to_owned(),
        }),
        entry => Ok(entry),
    }
}

/// What both the flags and the entry allow.
fn capabilities(
    wish: &Wish,
    entry: &Entry,
    policy: &PolicyFile,
) -> Result<BTreeSet<Capability>, PolicyError> {
    let (Some(list), Some(places)) = (&entry.allow, policy.capabilities(entry)?) else {
        return Ok(wish.base());
    };
    for (capability, at) in &places {
        if let Some(reason) = wish.excluded_for_untrusted(*capability) {
            return Err(PolicyError::Excluded {
                capability: *capability,
                at: Some(at.clone()),
                reason,
            });
        }
    }
    let listed: BTreeSet<_> = places.into_keys().collect();
    check_set(&listed).map_err(|message| PolicyError::Contradiction {
        at: policy.at(list.span().start),
        message,
    })?;
    Ok(match &wish.allow {
        Some(allow) => &listed & allow,
        None if wish.write => listed,
        None => &listed & &Capability::READ_ONLY.into(),
    })
}

/// Refuses capabilities that are nothing without others.
fn check_set(set: &BTreeSet<Capability>) -> Result<(), String> {
    let builds = set.contains(&Capability::BuildVerified) || set.contains(&Capability::BuildAny);
    let only_for_builds = [Capability::KeepFailed, Capability::Network];
    match only_for_builds.iter().find(|one| set.contains(one)) {
        Some(one) if !builds => Err(format!(
            "'{one}' is for builds, and needs 'build-verified' or 'build-any'"
        )),
        _ => Ok(()),
    }
}

impl Role {
    /// Takes over what the entry says apart from capabilities.
    fn apply(
        &mut self,
        entry: Entry,
        policy: &PolicyFile,
        store_dir: &StoreDir,
    ) -> Result<(), PolicyError> {
        let contradiction = |offset: usize, message: &str| PolicyError::Contradiction {
            at: policy.at(offset),
            message: message.to_owned(),
        };
        self.quotas = entry.quotas();
        for text in entry.expose.unwrap_or_default() {
            let path = store_dir.parse(text.get_ref().as_bytes()).map_err(|_| {
                let message = format!("'{}' is not a path of this store", text.get_ref());
                contradiction(text.span().start, &message)
            })?;
            self.exposed.push(path);
            self.view = View::Own;
        }
        if let Some(view) = entry.view {
            let start = view.span().start;
            match view.get_ref().0 {
                View::Everything if !self.exposed.is_empty() => {
                    let message = "a key that sees everything can't be limited to exposed paths";
                    return Err(contradiction(start, message));
                }
                view => self.view = view,
            }
        }
        if let Some(share) = entry.share {
            if *share.get_ref() && self.view == View::Everything {
                let message = "a key that sees everything has no view to share";
                return Err(contradiction(share.span().start, message));
            }
            self.shared_view = *share.get_ref();
        }
        self.impure_env_vars = entry.impure_env_vars.unwrap_or_default();
        self.weak_hashes = entry.weak_hashes.unwrap_or(self.weak_hashes);
        if let Some(features) = entry.system_features {
            self.system_features = Some(features);
        }
        if let Some(keys) = entry.trusted_keys {
            self.trusted_keys = keys.into_iter().map(|TrustedKey(key)| key).collect();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
