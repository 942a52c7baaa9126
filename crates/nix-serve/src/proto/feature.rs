//! Extensions of the protocol that two of our own programs agree on.
//!
//! ```text
//! client → server   magic, version with bit 16 │ requests …  AnnounceFeatures, names │ …
//! server → client   magic, version with bit 16, names │ replies …
//! ```
//!
//! Names go over only where both version words have [`Capabilities::EXTENSIONS`]: the
//! server's right behind its version word, the client's as the arguments of a command
//! without reply, before the first request that uses one. So the first request needn't
//! wait for the server's greeting. In force is what both have named; names that the other
//! side doesn't know are skipped.
//!
//! [`Capabilities::EXTENSIONS`]: super::Capabilities::EXTENSIONS

use std::fmt;
use std::io::{self, Read, Write};

use nix_base::{WireRead, WireWrite};

use super::{ProtoError, Result};

/// Most names that one side may list.
pub const MAX_FEATURES: u64 = 64;
/// Longest name, in bytes.
pub const MAX_FEATURE_NAME: u64 = 32;

/// An extension that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Feature {
    /// The server builds what is proven, and the client can prove: commands
    /// `QueryProofTexts` and `BuildDerivationWithProof`. A server that takes the client's
    /// word for everything doesn't list it.
    Proof,
}

impl Feature {
    /// All extensions in order of their names.
    pub const ALL: [Self; 1] = [Self::Proof];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proof => "proof",
        }
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some extensions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u64);

impl Features {
    /// The protocol as it is.
    pub const NONE: Self = Self(0);
    /// All that is known here.
    pub const ALL: Self = Self::NONE.with(Feature::Proof);

    /// These and `feature`.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | feature.bit())
    }

    /// Whether `feature` is among these.
    #[must_use]
    pub const fn contains(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// What both have.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The extensions in order of their names.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        let all = Feature::ALL.into_iter();
        all.filter(move |feature| self.contains(*feature))
    }

    /// Writes the list of names.
    ///
    /// # Errors
    /// The stream fails.
    pub fn write(self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        writer.write_u64(self.iter().count() as u64)?;
        self.iter()
            .try_for_each(|feature| writer.write_str(feature.name()))
    }

    /// Reads a list of names and skips those that aren't known here.
    ///
    /// # Errors
    /// The stream ends or fails, the list is too long, or a name breaks the rules: 1 to 32
    /// characters of `a-z`, `0-9` and `-`, in ascending order.
    pub fn read(reader: &mut (impl Read + ?Sized)) -> Result<Self> {
        let field = "the names of features";
        let count = reader.read_count(field, MAX_FEATURES)?;
        let mut features = Self::NONE;
        let mut last = String::new();
        for _ in 0..count {
            let name = reader.read_string(field, MAX_FEATURE_NAME)?;
            let is_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            if !name.bytes().all(is_name) {
                return Err(ProtoError::FeatureName(name));
            }
            // The empty name is never above the one before.
            if name <= last {
                return Err(ProtoError::FeatureOrder(name));
            }
            let known = Feature::ALL.into_iter().find(|known| known.name() == name);
            features = known.map_or(features, |feature| features.with(feature));
            last = name;
        }
        Ok(features)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.write_u64(names.len() as u64).unwrap();
        for name in names {
            bytes.write_str(name).unwrap();
        }
        bytes
    }

    fn read(names: &[&str]) -> Result<Features> {
        Features::read(&mut &list(names)[..])
    }

    #[test]
    fn names_are_sorted_and_differ() {
        assert!(Feature::ALL.is_sorted_by(|a, b| a.name() < b.name()));
        for features in [Features::NONE, Features::ALL] {
            let mut bytes = Vec::new();
            features.write(&mut bytes).unwrap();
            assert_eq!(Features::read(&mut &bytes[..]).unwrap(), features);
        }
    }

    #[test]
    fn unknown_names_are_skipped() {
        let features = read(&["a-0", "proof", "zzz"]).unwrap();
        assert_eq!(features, Features::NONE.with(Feature::Proof));
        assert_eq!(read(&["proo", "proofs"]).unwrap(), Features::NONE);
        assert_eq!(features.intersect(Features::NONE), Features::NONE);
    }

    #[test]
    fn refuses_lists_that_break_the_rules() {
        let long = "x".repeat(33);
        for bad in [
            &["proof", "proof"][..],
            &["b", "a"],
            &[""],
            &["Proof"],
            &["a b"],
            &["é"],
            &["a\0"],
            &[&long],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..65).map(|i| format!("f{i:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(read(&many[..64]).is_ok());
        assert!(read(&many).is_err());
        let error = read(&["b", "a"]).unwrap_err();
        insta::assert_snapshot!(error, @"feature 'a' is out of order");
    }
}
