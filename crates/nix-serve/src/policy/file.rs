//! The policy file: what holds for which key.
//!
//! ```text
//! [default]                       # for keys without an entry, and what entries leave out
//! allow = ["query", "dump", "import-ca", "import-signed", "build-verified"]
//! stored-bytes = "20G"
//! slots = 2
//! build-time = "10h"
//!
//! [key."alice@laptop"]
//! allow = ["query", "dump", "import-ca", "build-verified", "network"]
//! view = "own"                    # or "everything"
//! share = false                   # one view with all other keys that share
//! expose = ["/nix/store/…-stdenv"]
//! impure-env-vars = ["http_proxy"]
//! weak-hashes = false
//! system-features = ["big-parallel"]
//! trusted-keys = ["cache.example.org-1:…"]
//! ```
//!
//! An unknown word anywhere makes the whole file unusable, also for the keys it doesn't
//! concern: a policy that is half understood isn't the one that was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix_base::PublicKey;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{At, Capability, KeyName, PolicyError, Quotas, View};

/// A policy file that was understood as a whole.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    file: PathBuf,
    /// Byte offsets at which lines begin, the first left out.
    breaks: Vec<usize>,
    text: Text,
}

/// What the file says about one key, or about all that it doesn't name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Entry {
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) view: Option<Spanned<ViewWord>>,
    pub(super) share: Option<Spanned<bool>>,
    pub(super) expose: Option<Vec<Spanned<String>>>,
    pub(super) stored_bytes: Option<Bytes>,
    pub(super) slots: Option<u64>,
    pub(super) build_time: Option<Seconds>,
    pub(super) impure_env_vars: Option<BTreeSet<String>>,
    pub(super) weak_hashes: Option<bool>,
    pub(super) system_features: Option<BTreeSet<String>>,
    pub(super) trusted_keys: Option<Vec<TrustedKey>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Text {
    default: Option<Entry>,
    key: BTreeMap<KeyName, Entry>,
}

impl PolicyFile {
    /// Where the policy of the store with this state directory is.
    #[must_use]
    pub fn location(state_dir: &Path) -> PathBuf {
        state_dir.join("nix-serve/policy.toml")
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and can't be read or understood, or others could have written it.
    pub fn read(file: &Path) -> Result<Option<Self>, PolicyError> {
        let unreadable = |source| PolicyError::Read {
            file: file.to_owned(),
            source,
        };
        let open = match File::open(file) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let meta = open.metadata().map_err(unreadable)?;
        let user = rustix::process::geteuid().as_raw();
        if ![0, user].contains(&meta.uid()) || meta.mode() & OTHERS_WRITE != 0 {
            return Err(PolicyError::Foreign {
                file: file.to_owned(),
                owner: meta.uid(),
                mode: meta.mode() & PERMISSIONS,
            });
        }
        let mut text = String::new();
        open.take(MAX_SIZE + 1)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > MAX_SIZE {
            return Err(PolicyError::TooLarge {
                file: file.to_owned(),
            });
        }
        Self::parse(&text, file).map(Some)
    }

    /// Reads the text of a policy that is in `file`.
    ///
    /// # Errors
    /// If any of it isn't understood.
    pub fn parse(text: &str, file: &Path) -> Result<Self, PolicyError> {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        let mut policy = Self {
            file: file.to_owned(),
            breaks,
            text: Text::default(),
        };
        policy.text = toml::from_str(text).map_err(|error| PolicyError::Syntax {
            at: policy.at(error.span().map_or(0, |span| span.start)),
            message: error.message().replace('`', "'").replace('\n', "; "),
        })?;
        for entry in policy.text.default.iter().chain(policy.text.key.values()) {
            policy.capabilities(entry)?;
        }
        Ok(policy)
    }

    /// The capabilities that an entry lists, and where.
    pub(super) fn capabilities(
        &self,
        entry: &Entry,
    ) -> Result<Option<BTreeMap<Capability, At>>, PolicyError> {
        let Some(list) = &entry.allow else {
            return Ok(None);
        };
        let words = list.get_ref().iter().map(|word| {
            let at = self.at(word.span().start);
            match word.get_ref().parse::<Capability>() {
                Ok(capability) => Ok((capability, at)),
                Err(unknown) => Err(PolicyError::Syntax {
                    at,
                    message: unknown.to_string(),
                }),
            }
        });
        words.collect::<Result<_, _>>().map(Some)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// What holds for `key`: the values of its own entry, and those of the default for what
    /// the entry leaves out. `None` if there is neither.
    #[must_use]
    pub fn entry(&self, key: &KeyName) -> Option<Entry> {
        match (self.text.key.get(key), &self.text.default) {
            (Some(own), Some(default)) => Some(own.clone().or(default.clone())),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        }
    }

    /// How much `key` may use up.
    #[must_use]
    pub fn quotas(&self, key: &KeyName) -> Quotas {
        self.entry(key)
            .map(|entry| entry.quotas())
            .unwrap_or_default()
    }

    /// All names that have an entry.
    pub fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.text.key.keys()
    }

    /// The place of a byte of the text.
    pub(super) fn at(&self, offset: usize) -> At {
        At {
            file: self.file.clone(),
            line: self.breaks.partition_point(|start| *start <= offset) + 1,
        }
    }
}

impl Entry {
    /// How much a key may use up for which this holds.
    pub(super) fn quotas(&self) -> Quotas {
        Quotas {
            stored_bytes: self.stored_bytes.map(|bytes| bytes.0),
            slots: self.slots,
            build_seconds: self.build_time.map(|time| time.0),
        }
    }

    fn or(self, default: Self) -> Self {
        Self {
            allow: self.allow.or(default.allow),
            view: self.view.or(default.view),
            share: self.share.or(default.share),
            expose: self.expose.or(default.expose),
            stored_bytes: self.stored_bytes.or(default.stored_bytes),
            slots: self.slots.or(default.slots),
            build_time: self.build_time.or(default.build_time),
            impure_env_vars: self.impure_env_vars.or(default.impure_env_vars),
            weak_hashes: self.weak_hashes.or(default.weak_hashes),
            system_features: self.system_features.or(default.system_features),
            trusted_keys: self.trusted_keys.or(default.trusted_keys),
        }
    }
}

/// A view in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct ViewWord(pub(super) View);

/// A public key in a file.
#[derive(Debug, Clone)]
pub(super) struct TrustedKey(pub(super) PublicKey);

/// A number of bytes, perhaps with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

/// A number of seconds, perhaps with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) u64);

impl<'de> Deserialize<'de> for ViewWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "everything" => Ok(Self(View::Everything)),
            "own" => Ok(Self(View::Own)),
            word => Err(de::Error::custom(format!(
                "'{word}' is no view: there are 'own' and 'everything'"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for TrustedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let key = text.parse().map(Self);
        key.map_err(|_| de::Error::custom(format!("'{text}' is no public key NAME:BASE64")))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Amount(&BYTES)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Amount(&SECONDS)).map(Self)
    }
}

/// What an amount is counted in.
struct Unit {
    expected: &'static str,
    factors: &'static [(char, u64)],
}

/// A whole number, or one with a letter behind it.
struct Amount(&'static Unit);

impl de::Visitor<'_> for Amount {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.expected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        let unexpected = de::Unexpected::Signed(number);
        u64::try_from(number).map_err(|_| E::invalid_value(unexpected, &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let mut factors = self.0.factors.iter();
        let (digits, factor) = factors
            .find_map(|(letter, factor)| Some((text.strip_suffix(*letter)?, *factor)))
            .unwrap_or((text, 1));
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse::<u64>().ok().filter(|_| is_number);
        number
            .and_then(|number| number.checked_mul(factor))
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

const BYTES: Unit = Unit {
    expected: "a number of bytes, or one with K, M, G or T behind it in quotes",
    factors: &[
        ('K', 1 << 10),
        ('M', 1 << 20),
        ('G', 1 << 30),
        ('T', 1 << 40),
    ],
};
const SECONDS: Unit = Unit {
    expected: "a number of seconds, or one with s, m, h or d behind it in quotes",
    factors: &[('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)],
};
const MAX_SIZE: u64 = 1 << 20;
const OTHERS_WRITE: u32 = 0o022;
const PERMISSIONS: u32 = 0o7777;

#[cfg(test)]
mod tests;
