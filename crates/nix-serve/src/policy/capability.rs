//! What a client may be allowed to do, one by one.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One thing that a client may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Ask which paths are valid, and for their metadata.
    Query,
    /// Read the contents of paths.
    Dump,
    /// Add paths whose content address follows from what was received.
    ImportCa,
    /// Add paths that are signed by a key the policy trusts.
    ImportSigned,
    /// Add any path, on the client's word.
    ImportAny,
    /// Build what is shown to be what its output paths say.
    BuildVerified,
    /// Build anything, output paths on the client's word.
    BuildAny,
    /// Have paths fetched from the server's substituters. Nothing is so far.
    Substitute,
    /// Have the directories of failed builds kept.
    KeepFailed,
    /// Builds with a fixed output reach the network.
    Network,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Query,
        Self::Dump,
        Self::ImportCa,
        Self::ImportSigned,
        Self::ImportAny,
        Self::BuildVerified,
        Self::BuildAny,
        Self::Substitute,
        Self::KeepFailed,
        Self::Network,
    ];

    /// What a client that only reads may do.
    pub const READ_ONLY: [Self; 2] = [Self::Query, Self::Dump];

    /// What an untrusted client may do unless a policy says otherwise.
    pub const UNTRUSTED: [Self; 5] = [
        Self::Query,
        Self::Dump,
        Self::ImportCa,
        Self::ImportSigned,
        Self::BuildVerified,
    ];

    /// The word for it on the command line and in policy files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Dump => "dump",
            Self::ImportCa => "import-ca",
            Self::ImportSigned => "import-signed",
            Self::ImportAny => "import-any",
            Self::BuildVerified => "build-verified",
            Self::BuildAny => "build-any",
            Self::Substitute => "substitute",
            Self::KeepFailed => "keep-failed",
            Self::Network => "network",
        }
    }

    /// What it lets a client do, for people who grant it.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Query => "ask which paths it sees are valid, and for their metadata",
            Self::Dump => "read the contents of the paths it sees",
            Self::ImportCa => "add paths whose name follows from their content",
            Self::ImportSigned => "add paths that are signed by a trusted key",
            Self::ImportAny => "add any path on its word: as good as root on the store",
            Self::BuildVerified => "build what is proven to be what its output paths say",
            Self::BuildAny => "build anything on its word: as good as root on the store",
            Self::Substitute => {
                "have paths fetched from the server's substituters (it fetches nothing so far)"
            }
            Self::KeepFailed => "have the directories of failed builds kept on the server",
            Self::Network => "reach the public network from builds with a fixed output",
        }
    }

    /// Whether a client that has it can make a path valid whose content isn't what the
    /// path says, or leave things outside of the store.
    #[must_use]
    pub fn needs_trust(self) -> bool {
        matches!(self, Self::ImportAny | Self::BuildAny | Self::KeepFailed)
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn only_reads(self) -> bool {
        Self::READ_ONLY.contains(&self)
    }

    /// Reads a list separated by commas or blanks.
    ///
    /// # Errors
    /// At the first word that isn't known, and if there is none at all.
    pub fn parse_list(list: &str) -> Result<BTreeSet<Self>, UnknownCapability> {
        let set = list
            .split([',', ' '])
            .filter(|word| !word.is_empty())
            .map(str::parse)
            .collect::<Result<BTreeSet<_>, _>>()?;
        if set.is_empty() {
            return Err(UnknownCapability(list.to_owned()));
        }
        Ok(set)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|capability| capability.word() == word)
            .ok_or_else(|| UnknownCapability(word.to_owned()))
    }
}

/// A word that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no capability: there are query, dump, import-ca, import-signed, import-any, \
     build-verified, build-any, substitute, keep-failed and network"
)]
pub struct UnknownCapability(pub String);
