//! Protocol versions, and the word in which they are announced.
//!
//! ```text
//! bit  63 … 32     31 … 16        15 … 8   7 … 0
//!      must be 0   capabilities   major    minor
//! ```
//!
//! Real Nix ignores the capabilities in both directions, so two of our own programs can
//! find each other by them without disturbing anyone.

use std::fmt;

use nix_base::WireError;

/// A version of the serve protocol; the lower of the two announced is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServeVersion {
    /// 2 in all that is supported.
    pub major: u8,
    /// Grows with each optional field.
    pub minor: u8,
}

impl ServeVersion {
    /// The newest version, spoken by Nix 2.35.
    pub const LATEST: Self = Self::v2(8);
    /// The oldest version, spoken by Nix 1.8.
    pub const OLDEST: Self = Self::v2(0);

    /// Version 2.`minor`.
    #[must_use]
    pub const fn v2(minor: u8) -> Self {
        Self { major: 2, minor }
    }

    /// `BuildDerivation` is a command.
    #[must_use]
    pub fn has_build_derivation(self) -> bool {
        self >= Self::v2(1)
    }

    /// Build options have a limit of the log.
    #[must_use]
    pub fn has_max_log_size(self) -> bool {
        self >= Self::v2(2)
    }

    /// Build options have the number of repeats and whether they must agree.
    #[must_use]
    pub fn has_repeats(self) -> bool {
        self >= Self::v2(3)
    }

    /// Build results tell how often and when was built.
    #[must_use]
    pub fn has_build_times(self) -> bool {
        self >= Self::v2(3)
    }

    /// Path infos have NAR hash, content address and signatures.
    #[must_use]
    pub fn has_nar_hash(self) -> bool {
        self >= Self::v2(4)
    }

    /// `AddToStoreNar` is a command.
    #[must_use]
    pub fn has_add_to_store_nar(self) -> bool {
        self >= Self::v2(5)
    }

    /// Build results name the outputs.
    #[must_use]
    pub fn has_built_outputs(self) -> bool {
        self >= Self::v2(6)
    }

    /// Build options tell whether to keep the directory of a failed build.
    #[must_use]
    pub fn has_keep_failed(self) -> bool {
        self >= Self::v2(7)
    }

    /// The outputs in build results are keyed by name alone and are no longer JSON.
    #[must_use]
    pub fn has_realisations_by_name(self) -> bool {
        self >= Self::v2(8)
    }
}

impl fmt::Display for ServeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a peer can do beyond the protocol: the upper half of its version word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// Nothing beyond the protocol.
    pub const NONE: Self = Self(0);
    /// The peer speaks extensions, whose names follow the version words.
    pub const EXTENSIONS: Self = Self(1);

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What both peers can do.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// A version with capabilities, as it is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionWord {
    /// The newest version that the peer speaks.
    pub version: ServeVersion,
    /// What else it can do.
    pub capabilities: Capabilities,
}

impl VersionWord {
    /// What we announce.
    pub const OURS: Self = Self {
        version: ServeVersion::LATEST,
        capabilities: Capabilities::EXTENSIONS,
    };

    /// The word on the wire.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let version = (self.version.major as u64) << 8 | self.version.minor as u64;
        (self.capabilities.0 as u64) << 16 | version
    }

    /// Reads the word.
    ///
    /// # Errors
    /// A bit above the 32nd is set.
    pub fn from_u64(word: u64) -> Result<Self, WireError> {
        let field = "the protocol version";
        let [minor, major, low, high, rest @ ..] = word.to_le_bytes();
        if rest != [0; 4] {
            return Err(WireError::IntTooLarge { field, value: word });
        }
        Ok(Self {
            version: ServeVersion { major, minor },
            capabilities: Capabilities(u16::from_le_bytes([low, high])),
        })
    }
}

impl From<ServeVersion> for VersionWord {
    fn from(version: ServeVersion) -> Self {
        let capabilities = Capabilities::NONE;
        Self {
            version,
            capabilities,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_major_and_minor_bytes() {
        assert_eq!(VersionWord::OURS.to_u64(), 0x1_0208);
        assert_eq!(VersionWord::from(ServeVersion::v2(0)).to_u64(), 0x200);
        assert_eq!(
            VersionWord::from_u64(0x207).unwrap().version,
            ServeVersion::v2(7)
        );
    }

    #[test]
    fn capabilities_are_kept_apart_and_wider_words_refused() {
        let word = VersionWord::from_u64(0xffff_0208).unwrap();
        assert_eq!(word.version, ServeVersion::v2(8));
        assert!(word.capabilities.contains(Capabilities::EXTENSIONS));
        assert_eq!(word.to_u64(), 0xffff_0208);
        assert_eq!(
            word.capabilities.intersect(Capabilities::EXTENSIONS),
            Capabilities::EXTENSIONS
        );
        let word = VersionWord::from_u64(0x8001_0208).unwrap();
        assert_eq!(word.version, ServeVersion::v2(8));
        let error = VersionWord::from_u64(0x1_0000_0208).unwrap_err();
        insta::assert_snapshot!(error, @"serialised integer 4294967816 is too large for the protocol version");
    }

    #[test]
    fn features_come_with_their_versions() {
        type Feature = fn(ServeVersion) -> bool;
        let since: [(u8, Feature); 9] = [
            (1, ServeVersion::has_build_derivation),
            (2, ServeVersion::has_max_log_size),
            (3, ServeVersion::has_repeats),
            (3, ServeVersion::has_build_times),
            (4, ServeVersion::has_nar_hash),
            (5, ServeVersion::has_add_to_store_nar),
            (6, ServeVersion::has_built_outputs),
            (7, ServeVersion::has_keep_failed),
            (8, ServeVersion::has_realisations_by_name),
        ];
        for (first, feature) in since {
            for minor in 0..=8 {
                assert_eq!(feature(ServeVersion::v2(minor)), minor >= first);
            }
        }
        assert_eq!(
            ServeVersion::LATEST.min(ServeVersion::v2(200)),
            ServeVersion::LATEST
        );
    }
}
