//! Content addresses: how an object's path follows from its content.

use std::fmt;
use std::str::FromStr;

use crate::hash::{Hash, HashAlgo, HashError, HashFormat};
use crate::store_dir::StoreDir;
use crate::store_path::make::{MakePathError, References, make_content_addressed_path};
use crate::store_path::{StorePath, StorePathSet};

/// What of an object is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentAddressMethod {
    /// The contents of a text file; references are part of the path's type.
    Text,
    /// The contents of a regular, non-executable file.
    Flat,
    /// The NAR.
    NixArchive,
    /// The Git tree or blob; experimental upstream since 2.19.
    Git,
}

impl ContentAddressMethod {
    /// What stands before the algorithm in `fixed:` addresses and in derivations: empty,
    /// `r:`, `git:` or `text:`.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Text => "text:",
            Self::Flat => "",
            Self::NixArchive => "r:",
            Self::Git => "git:",
        }
    }

    /// The word of JSON forms: `text`, `flat`, `nar`, `git`.
    #[must_use]
    pub const fn as_json_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Flat => "flat",
            Self::NixArchive => "nar",
            Self::Git => "git",
        }
    }

    /// Parses [`Self::as_json_str`], or the older `recursive`.
    #[must_use]
    pub fn from_json_str(word: &str) -> Option<Self> {
        Some(match word {
            "text" => Self::Text,
            "flat" => Self::Flat,
            "nar" | "recursive" => Self::NixArchive,
            "git" => Self::Git,
            _ => return None,
        })
    }

    /// Parses method and algorithm as derivations have them: `sha256`, `r:sha256`,
    /// `git:sha1`, `text:sha256`.
    ///
    /// # Errors
    /// Unknown algorithm.
    pub fn parse_with_algo(text: &str) -> Result<(Self, HashAlgo), HashError> {
        for method in [Self::Text, Self::NixArchive, Self::Git] {
            if let Some(algo) = text.strip_prefix(method.prefix()) {
                return Ok((method, algo.parse()?));
            }
        }
        Ok((Self::Flat, text.parse()?))
    }
}

/// A method with a hash, such as `fixed:r:sha256:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentAddress {
    /// What was hashed.
    pub method: ContentAddressMethod,
    /// The digest.
    pub hash: Hash,
}

/// Why a text is not a content address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentAddressError {
    /// Neither `text:` nor `fixed:`.
    #[error("content address prefix '{0}' is unrecognized: expected 'text:' or 'fixed:'")]
    UnknownPrefix(String),
    /// No colon where the hash should start.
    #[error("content address '{0}' has no hash")]
    NoHash(String),
    /// The hash is malformed.
    #[error("content address '{text}' has a bad hash")]
    Hash {
        /// The whole text.
        text: String,
        /// What is wrong.
        #[source]
        source: HashError,
    },
    /// A text address with another algorithm than SHA-256.
    #[error("text content address must use sha256, not '{0}'")]
    TextNeedsSha256(HashAlgo),
}

impl ContentAddress {
    /// The path that this address gives.
    ///
    /// # Errors
    /// The method does not allow these references.
    pub fn path(
        &self,
        dir: &StoreDir,
        references: &References,
        name: &crate::store_path::StorePathName,
    ) -> Result<StorePath, MakePathError> {
        make_content_addressed_path(dir, self, references, name)
    }

    /// Whether `path` with `references` is the path that this address gives.
    #[must_use]
    pub fn matches(&self, dir: &StoreDir, path: &StorePath, references: &StorePathSet) -> bool {
        let references = References::of(path, references);
        self.path(dir, &references, path.name())
            .is_ok_and(|computed| computed == *path)
    }
}

impl fmt::Display for ContentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.hash.render_prefixed(HashFormat::Nix32);
        match self.method {
            ContentAddressMethod::Text => write!(f, "text:{hash}"),
            method => write!(f, "fixed:{}{hash}", method.prefix()),
        }
    }
}

impl FromStr for ContentAddress {
    type Err = ContentAddressError;

    fn from_str(text: &str) -> Result<Self, ContentAddressError> {
        let (prefix, rest) = text
            .split_once(':')
            .ok_or_else(|| ContentAddressError::UnknownPrefix(text.into()))?;
        let (method, rest) = match prefix {
            "text" => (ContentAddressMethod::Text, rest),
            "fixed" => {
                if let Some(rest) = rest.strip_prefix("r:") {
                    (ContentAddressMethod::NixArchive, rest)
                } else if let Some(rest) = rest.strip_prefix("git:") {
                    (ContentAddressMethod::Git, rest)
                } else {
                    (ContentAddressMethod::Flat, rest)
                }
            }
            other => return Err(ContentAddressError::UnknownPrefix(other.into())),
        };
        let bad = |source| ContentAddressError::Hash {
            text: text.into(),
            source,
        };
        let (algo, digits) = rest
            .split_once(':')
            .ok_or_else(|| ContentAddressError::NoHash(text.into()))?;
        let algo: HashAlgo = algo.parse().map_err(bad)?;
        if method == ContentAddressMethod::Text && algo != HashAlgo::Sha256 {
            return Err(ContentAddressError::TextNeedsSha256(algo));
        }
        let hash = Hash::parse_digits(algo, digits).map_err(bad)?;
        Ok(Self { method, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_prints_and_parses() {
        let sha256 = Hash::of(HashAlgo::Sha256, b"");
        let sha1 = Hash::of(HashAlgo::Sha1, b"");
        for (method, hash) in [
            (ContentAddressMethod::Text, sha256),
            (ContentAddressMethod::Flat, sha1),
            (ContentAddressMethod::NixArchive, sha256),
            (ContentAddressMethod::Git, sha1),
        ] {
            let ca = ContentAddress { method, hash };
            assert_eq!(ca.to_string().parse::<ContentAddress>().unwrap(), ca);
        }
    }

    #[test]
    fn rejects_what_is_no_content_address() {
        for bad in [
            "",
            "text",
            "fixed:",
            "fixed:r:",
            "sha256:aa",
            "fixed:r:sha256:aa",
            "fixed:sha256-AAAA",
            "text:sha1:143xibwh31h9bvxzalr0sjvbbvpa6ffs",
            "fixed:x:sha1:143xibwh31h9bvxzalr0sjvbbvpa6ffs",
        ] {
            assert!(bad.parse::<ContentAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn method_and_algorithm_of_derivations() {
        let parse = ContentAddressMethod::parse_with_algo;
        assert_eq!(
            parse("sha256").unwrap(),
            (ContentAddressMethod::Flat, HashAlgo::Sha256)
        );
        assert_eq!(
            parse("r:sha1").unwrap(),
            (ContentAddressMethod::NixArchive, HashAlgo::Sha1)
        );
        assert_eq!(
            parse("git:sha1").unwrap(),
            (ContentAddressMethod::Git, HashAlgo::Sha1)
        );
        assert_eq!(
            parse("text:sha256").unwrap(),
            (ContentAddressMethod::Text, HashAlgo::Sha256)
        );
        assert!(parse("r:").is_err());
    }
}
