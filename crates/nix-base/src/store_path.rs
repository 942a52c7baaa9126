//! Store paths: 32 nix32 digits, a dash, and a name.
//!
//! The digits are kept as text: they are compared, printed and sent as text, and only
//! rarely needed as 20 bytes. So the derived order is the order of the printed text.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::nix32;

pub mod make;

/// Longest name of a store path, in bytes.
pub const MAX_NAME_LEN: usize = 211;
/// Number of nix32 digits in a store path.
pub const HASH_DIGITS: usize = 32;

/// Paths in ascending order of their base names, the order of all formats.
pub type StorePathSet = BTreeSet<StorePath>;

/// Why a text is not a store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorePathError {
    /// Not directly below the store directory.
    #[error("path '{0}' is not in the Nix store")]
    NotInStore(String),
    /// The base name has no 32 digits followed by a dash.
    #[error(
        "path '{0}' is not a valid store path: it must start with 32 base-32 digits and a dash"
    )]
    BadHash(String),
    /// The name part breaks the rules of names.
    #[error("path '{path}' is not a valid store path: {reason}")]
    BadName {
        /// The base name.
        path: String,
        /// The rule.
        reason: NameError,
    },
}

impl StorePathError {
    pub(crate) fn not_in_store(path: &[u8]) -> Self {
        Self::NotInStore(printable(path))
    }
}

/// The rule that a name breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Names are not empty.
    #[error("name must not be empty")]
    Empty,
    /// Names have at most [`MAX_NAME_LEN`] bytes.
    #[error("name '{0}' must be no longer than 211 characters")]
    TooLong(String),
    /// `.`, `..` and names starting `.-` or `..-` are refused.
    #[error("name '{0}' is not valid: it must not be '.' or '..' or start with '.-' or '..-'")]
    DotName(String),
    /// A character outside `0-9 a-z A-Z + - . _ ? =`.
    #[error("name '{name}' contains illegal character '{character}'")]
    IllegalCharacter {
        /// The name.
        name: String,
        /// The character, escaped where it can't be shown.
        character: String,
    },
}

/// Bytes as text for an error message: control characters and non-UTF-8 as escapes, cut
/// at 300 bytes.
fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(300)];
    let mut text = String::new();
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// The digest part of a store path, as its 32 nix32 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePathHash([u8; HASH_DIGITS]);

impl StorePathHash {
    /// From the 20-byte digest.
    #[must_use]
    pub fn from_digest(digest: [u8; 20]) -> Self {
        let text = nix32::encode(&digest);
        Self(text.as_bytes().try_into().expect("20 bytes have 32 digits"))
    }

    /// From 32 digits; `None` if one is outside the alphabet.
    #[must_use]
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        let digits: [u8; HASH_DIGITS] = digits.try_into().ok()?;
        digits
            .iter()
            .fold(true, |all, &b| all & nix32::is_digit(b))
            .then_some(Self(digits))
    }

    /// The 20-byte digest.
    #[must_use]
    pub fn to_digest(&self) -> [u8; 20] {
        let bytes = nix32::decode(&self.0).expect("160 bits fill 32 digits exactly");
        bytes.try_into().expect("32 digits have 20 bytes")
    }

    /// The 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the digits are ASCII")
    }

    /// The 32 digits as bytes, the needle of reference scans.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_DIGITS] {
        &self.0
    }
}

impl fmt::Display for StorePathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for StorePathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePathHash({self})")
    }
}

/// The name part of a store path: 1–211 bytes from `0-9 a-z A-Z + - . _ ? =`.
///
/// Clones share the text: one path is often among the references of many.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePathName(Arc<str>);

impl StorePathName {
    /// Checks the rules of names (those of Nix since 2.21).
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Self::from_bytes(name.as_bytes())
    }

    fn from_bytes(name: &[u8]) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        let is_legal = name.iter().fold(true, |all, &b| all & is_name_byte(b));
        if !is_legal && let Some(&byte) = name.iter().find(|&&b| !is_name_byte(b)) {
            return Err(NameError::IllegalCharacter {
                name: printable(name),
                character: printable(&[byte]),
            });
        }
        if name.len() > MAX_NAME_LEN {
            return Err(NameError::TooLong(printable(name)));
        }
        let after_dots = name.strip_prefix(b"..").or_else(|| name.strip_prefix(b"."));
        if let Some(rest) = after_dots
            && (rest.is_empty() || rest[0] == b'-')
        {
            return Err(NameError::DotName(printable(name)));
        }
        let text = std::str::from_utf8(name).expect("name bytes are ASCII");
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_name_byte(byte: u8) -> bool {
    // Without branches, so that a whole name is checked by vector instructions.
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let is_digit = byte.wrapping_sub(b'0') < 10;
    let is_dash = (byte == b'-') | (byte == b'.') | (byte == b'_');
    is_letter | is_digit | is_dash | (byte == b'+') | (byte == b'?') | (byte == b'=')
}

impl fmt::Display for StorePathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorePathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePathName({self})")
    }
}

impl FromStr for StorePathName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

/// The base name of a store object, `<hash>-<name>`, without the store directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath {
    hash: StorePathHash,
    name: StorePathName,
}

impl StorePath {
    /// A path from its parts.
    #[must_use]
    pub const fn new(hash: StorePathHash, name: StorePathName) -> Self {
        Self { hash, name }
    }

    /// Parses a base name.
    ///
    /// # Errors
    /// The digits or the name break their rules.
    pub fn from_base_name(base: &str) -> Result<Self, StorePathError> {
        Self::from_base_name_bytes(base.as_bytes())
    }

    /// [`Self::from_base_name`] for bytes that need not be UTF-8.
    ///
    /// # Errors
    /// The digits or the name break their rules.
    pub fn from_base_name_bytes(base: &[u8]) -> Result<Self, StorePathError> {
        let (digits, rest) = base
            .split_at_checked(HASH_DIGITS)
            .ok_or_else(|| StorePathError::BadHash(printable(base)))?;
        let hash = StorePathHash::from_digits(digits);
        let (Some(hash), Some(name)) = (hash, rest.strip_prefix(b"-")) else {
            return Err(StorePathError::BadHash(printable(base)));
        };
        let name = StorePathName::from_bytes(name).map_err(|reason| StorePathError::BadName {
            path: printable(base),
            reason,
        })?;
        Ok(Self { hash, name })
    }

    /// The digest part.
    #[must_use]
    pub const fn hash(&self) -> &StorePathHash {
        &self.hash
    }

    /// The name part.
    #[must_use]
    pub const fn name(&self) -> &StorePathName {
        &self.name
    }

    /// `<hash>-<name>`.
    #[must_use]
    pub fn base_name(&self) -> String {
        let mut text = String::with_capacity(self.base_name_len());
        text.push_str(self.hash.as_str());
        text.push('-');
        text.push_str(self.name.as_str());
        text
    }

    /// Length of the base name in bytes.
    #[must_use]
    pub fn base_name_len(&self) -> usize {
        HASH_DIGITS + 1 + self.name.0.len()
    }

    /// Whether this is the path of a derivation: its name ends in `.drv`.
    #[must_use]
    pub fn is_derivation(&self) -> bool {
        self.name.0.ends_with(".drv")
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.hash, self.name)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePath({self})")
    }
}

impl FromStr for StorePath {
    type Err = StorePathError;

    fn from_str(base: &str) -> Result<Self, StorePathError> {
        Self::from_base_name(base)
    }
}

#[cfg(test)]
mod tests;
