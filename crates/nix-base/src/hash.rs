//! Digests and their text forms.
//!
//! | form | layout |
//! |---|---|
//! | base16 | lower case on output, both cases on input |
//! | nix32 | see [`crate::nix32`] |
//! | base64 | RFC 4648 with padding |
//! | SRI | `<algo>-<base64>` |
//!
//! Outside SRI the base of a text is chosen by its length alone, as real Nix does.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::Digest;

use crate::nix32;

pub mod modulo;
pub mod sink;

/// A hash algorithm that Nix knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgo {
    /// MD5, 16 bytes; old fixed-output derivations only.
    Md5,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes; the only one for NARs.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
    /// BLAKE3 with 32 bytes; experimental upstream since 2.28.
    Blake3,
}

impl HashAlgo {
    /// All algorithms.
    pub const ALL: [Self; 5] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Blake3,
    ];

    /// Digest length in bytes.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Blake3 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The name in prefixes and attributes, such as `sha256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }
}

impl fmt::Display for HashAlgo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for HashAlgo {
    type Err = HashError;

    fn from_str(name: &str) -> Result<Self, HashError> {
        Self::ALL
            .into_iter()
            .find(|algo| algo.as_str() == name)
            .ok_or_else(|| HashError::UnknownAlgorithm(name.into()))
    }
}

/// Why a text is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// The algorithm word is none of [`HashAlgo`].
    #[error("unknown hash algorithm '{0}'")]
    UnknownAlgorithm(String),
    /// Neither a prefix nor the context names the algorithm.
    #[error("hash '{0}' does not include a type")]
    NoAlgorithm(String),
    /// The prefix contradicts the context.
    #[error("hash '{text}' should have type '{expected}'")]
    WrongAlgorithm {
        /// The offending text.
        text: String,
        /// What the context demands.
        expected: HashAlgo,
    },
    /// No base has this length for the algorithm.
    #[error("hash '{text}' has wrong length for hash algorithm '{algo}'")]
    WrongLength {
        /// The offending text.
        text: String,
        /// The algorithm.
        algo: HashAlgo,
    },
    /// A character that the base does not have, or stray bits.
    #[error("invalid {base} hash '{text}'")]
    InvalidDigits {
        /// The base that the length implied.
        base: &'static str,
        /// The offending text.
        text: String,
    },
    /// An SRI text whose digest has another length than its algorithm.
    #[error("invalid SRI hash '{0}'")]
    InvalidSri(String),
}

/// How to print a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFormat {
    /// Lower-case hexadecimal.
    Base16,
    /// Nix's base-32.
    Nix32,
    /// RFC 4648 base 64 with padding.
    Base64,
    /// `<algo>-<base64>`.
    Sri,
}

/// A digest with its algorithm. Ordered by algorithm, then by bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash {
    algo: HashAlgo,
    // Bytes past the digest's length are zero, so the derived comparisons are right.
    bytes: [u8; 64],
}

impl Hash {
    /// A hash from its raw digest.
    ///
    /// # Errors
    /// `digest` has another length than the algorithm.
    pub fn new(algo: HashAlgo, digest: &[u8]) -> Result<Self, HashError> {
        if digest.len() != algo.digest_len() {
            return Err(HashError::WrongLength {
                text: HEXLOWER.encode(digest),
                algo,
            });
        }
        let mut bytes = [0; 64];
        bytes[..digest.len()].copy_from_slice(digest);
        Ok(Self { algo, bytes })
    }

    /// Hashes `data` in one go.
    #[must_use]
    pub fn of(algo: HashAlgo, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(algo);
        hasher.update(data);
        hasher.finish()
    }

    /// The algorithm.
    #[must_use]
    pub const fn algo(&self) -> HashAlgo {
        self.algo
    }

    /// The digest, [`HashAlgo::digest_len`] bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algo.digest_len()]
    }

    /// Parses `algo:digits`, `algo-base64` (SRI), or bare digits when `context` names
    /// the algorithm.
    ///
    /// # Errors
    /// See [`HashError`].
    pub fn parse_any(text: &str, context: Option<HashAlgo>) -> Result<Self, HashError> {
        let (algo, digits, sri) = if let Some((name, rest)) = text.split_once(':') {
            (Some(name.parse()?), rest, false)
        } else if let Some((name, rest)) = text.split_once('-') {
            (Some(name.parse()?), rest, true)
        } else {
            (None, text, false)
        };
        let algo = match (algo, context) {
            (Some(found), Some(expected)) if found != expected => {
                return Err(HashError::WrongAlgorithm {
                    text: text.into(),
                    expected,
                });
            }
            (Some(algo), _) | (None, Some(algo)) => algo,
            (None, None) => return Err(HashError::NoAlgorithm(text.into())),
        };
        if sri {
            let digest = decode_base64(digits, text)?;
            return Self::new(algo, &digest).map_err(|_| HashError::InvalidSri(text.into()));
        }
        Self::parse_digits(algo, digits)
    }

    /// Parses digits without a prefix; their number tells the base.
    ///
    /// # Errors
    /// No base has that many digits, or a digit is invalid.
    pub fn parse_digits(algo: HashAlgo, digits: &str) -> Result<Self, HashError> {
        let invalid = |base| HashError::InvalidDigits {
            base,
            text: digits.into(),
        };
        let len = algo.digest_len();
        let digest = if digits.len() == len * 2 {
            HEXLOWER_PERMISSIVE
                .decode(digits.as_bytes())
                .map_err(|_| invalid("base-16"))?
        } else if digits.len() == nix32::encoded_len(len) {
            nix32::decode(digits.as_bytes()).map_err(|_| invalid("base-32"))?
        } else if digits.len() == BASE64.encode_len(len) {
            decode_base64(digits, digits)?
        } else {
            return Err(HashError::WrongLength {
                text: digits.into(),
                algo,
            });
        };
        Self::new(algo, &digest)
    }

    /// The digits in `format`, without prefix except for SRI.
    #[must_use]
    pub fn render(&self, format: HashFormat) -> String {
        match format {
            HashFormat::Base16 => HEXLOWER.encode(self.as_bytes()),
            HashFormat::Nix32 => nix32::encode(self.as_bytes()),
            HashFormat::Base64 => BASE64.encode(self.as_bytes()),
            HashFormat::Sri => format!("{}-{}", self.algo, BASE64.encode(self.as_bytes())),
        }
    }

    /// The digits with the prefix `<algo>:` (SRI has its own).
    #[must_use]
    pub fn render_prefixed(&self, format: HashFormat) -> String {
        match format {
            HashFormat::Sri => self.render(format),
            _ => format!("{}:{}", self.algo, self.render(format)),
        }
    }
}

fn decode_base64(digits: &str, whole: &str) -> Result<Vec<u8>, HashError> {
    BASE64
        .decode(digits.as_bytes())
        .map_err(|_| HashError::InvalidDigits {
            base: "base-64",
            text: whole.into(),
        })
}

impl fmt::Display for Hash {
    /// `<algo>:<nix32>`, the form of content addresses and fingerprints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render_prefixed(HashFormat::Nix32))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The SHA-256 of a NAR: what identifies the content of a store object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NarHash([u8; 32]);

impl NarHash {
    /// From the raw digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Hashes a whole NAR held in memory.
    #[must_use]
    pub fn of(nar: &[u8]) -> Self {
        Self(sha2::Sha256::digest(nar).into())
    }

    /// The raw digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses any form of a SHA-256, with or without prefix, as servers accept it.
    ///
    /// # Errors
    /// Another algorithm or malformed digits.
    pub fn parse_any(text: &str) -> Result<Self, HashError> {
        let hash = Hash::parse_any(text, Some(HashAlgo::Sha256))?;
        Ok(Self::try_from(hash).expect("parse_any returned the algorithm of the context"))
    }

    /// 64 hexadecimal digits without prefix: the form of `AddToStoreNar` requests.
    #[must_use]
    pub fn to_base16(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// `sha256:` and 64 hexadecimal digits: the form in the database.
    #[must_use]
    pub fn to_prefixed_base16(&self) -> String {
        let mut text = String::with_capacity(7 + 64);
        text.push_str("sha256:");
        HEXLOWER.encode_append(&self.0, &mut text);
        text
    }

    /// `sha256:` and 52 nix32 digits: the form of replies and fingerprints.
    #[must_use]
    pub fn to_prefixed_nix32(&self) -> String {
        let mut text = String::with_capacity(7 + 52);
        text.push_str("sha256:");
        text.push_str(&nix32::encode(&self.0));
        text
    }

    /// Whether the digest is all zero: real Nix's mark for "unknown".
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.0 == [0; 32]
    }
}

impl From<NarHash> for Hash {
    fn from(hash: NarHash) -> Self {
        Self::new(HashAlgo::Sha256, &hash.0).expect("32 bytes are a SHA-256")
    }
}

impl TryFrom<Hash> for NarHash {
    type Error = HashError;

    fn try_from(hash: Hash) -> Result<Self, HashError> {
        match <[u8; 32]>::try_from(hash.as_bytes()) {
            Ok(bytes) if hash.algo == HashAlgo::Sha256 => Ok(Self(bytes)),
            _ => Err(HashError::WrongAlgorithm {
                text: hash.to_string(),
                expected: HashAlgo::Sha256,
            }),
        }
    }
}

impl fmt::Display for NarHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_prefixed_nix32())
    }
}

impl fmt::Debug for NarHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NarHash({self})")
    }
}

/// An incremental hash computation.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Starts a computation.
    #[must_use]
    pub fn new(algo: HashAlgo) -> Self {
        Self(match algo {
            HashAlgo::Md5 => State::Md5(md5::Md5::new()),
            HashAlgo::Sha1 => State::Sha1(sha1::Sha1::new()),
            HashAlgo::Sha256 => State::Sha256(sha2::Sha256::new()),
            HashAlgo::Sha512 => State::Sha512(sha2::Sha512::new()),
            HashAlgo::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
        })
    }

    /// Feeds `data`.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Md5(h) => h.update(data),
            State::Sha1(h) => h.update(data),
            State::Sha256(h) => h.update(data),
            State::Sha512(h) => h.update(data),
            State::Blake3(h) => {
                h.update(data);
            }
        }
    }

    /// The digest of all that was fed.
    #[must_use]
    pub fn finish(self) -> Hash {
        let (algo, digest) = match self.0 {
            State::Md5(h) => (HashAlgo::Md5, h.finalize().to_vec()),
            State::Sha1(h) => (HashAlgo::Sha1, h.finalize().to_vec()),
            State::Sha256(h) => (HashAlgo::Sha256, h.finalize().to_vec()),
            State::Sha512(h) => (HashAlgo::Sha512, h.finalize().to_vec()),
            State::Blake3(h) => (HashAlgo::Blake3, h.finalize().as_bytes().to_vec()),
        };
        Hash::new(algo, &digest).expect("a digest has its algorithm's length")
    }
}

#[cfg(test)]
mod tests;
