//! Names of clients.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// The name of a client: 1 to 64 of `A-Z a-z 0-9 . _ @ + -`, not beginning with `-` or `.`.
///
/// It stands in command lines, records and tables, and is safe to print anywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name of clients that have none.
    #[must_use]
    pub fn unnamed() -> Self {
        Self("unnamed".to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(text: &str) -> Result<Self, InvalidKeyName> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
        if (1..=MAX_BYTES).contains(&text.len())
            && !text.starts_with(['-', '.'])
            && text.chars().all(is_fine)
        {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidKeyName(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A text that can't be the name of a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no name for a key: expected up to {MAX_BYTES} letters, digits and '._@+-', not \
     beginning with '-' or '.'"
)]
pub struct InvalidKeyName(pub String);

const MAX_BYTES: usize = 64;
