//! The numbers of the commands.

use std::fmt;
use std::io::Read;

use nix_base::WireError;

use super::{Feature, ProtoError, Result, ServeVersion};

/// A command of the serve protocol; the numbers are those on the wire.
///
/// Those from 0x100 on are our own: see [`super::feature`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ServeCommand {
    /// Which of some paths are valid, pinned or substituted on demand.
    QueryValidPaths = 1,
    /// Metadata of the valid ones among some paths.
    QueryPathInfos = 2,
    /// The NAR of a path.
    DumpStorePath = 3,
    /// Adds the objects of an export stream.
    ImportPaths = 4,
    /// Some paths as an export stream.
    ExportPaths = 5,
    /// Builds or substitutes some paths.
    BuildPaths = 6,
    /// The closure of some paths.
    QueryClosure = 7,
    /// Builds one derivation that comes with the request.
    BuildDerivation = 8,
    /// Adds one object with its metadata.
    AddToStoreNar = 9,
    /// Which of some texts of proofs the server lacks.
    QueryProofTexts = 0x100,
    /// Builds one derivation that comes with the request and a proof of its paths.
    BuildDerivationWithProof = 0x101,
    /// The features that the client has; there is no reply.
    AnnounceFeatures = 0x102,
}

impl ServeCommand {
    /// All commands in order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::QueryValidPaths,
        Self::QueryPathInfos,
        Self::DumpStorePath,
        Self::ImportPaths,
        Self::ExportPaths,
        Self::BuildPaths,
        Self::QueryClosure,
        Self::BuildDerivation,
        Self::AddToStoreNar,
        Self::QueryProofTexts,
        Self::BuildDerivationWithProof,
        Self::AnnounceFeatures,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// The name in the protocol's description.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueryValidPaths => "QueryValidPaths",
            Self::QueryPathInfos => "QueryPathInfos",
            Self::DumpStorePath => "DumpStorePath",
            Self::ImportPaths => "ImportPaths",
            Self::ExportPaths => "ExportPaths",
            Self::BuildPaths => "BuildPaths",
            Self::QueryClosure => "QueryClosure",
            Self::BuildDerivation => "BuildDerivation",
            Self::AddToStoreNar => "AddToStoreNar",
            Self::QueryProofTexts => "QueryProofTexts",
            Self::BuildDerivationWithProof => "BuildDerivationWithProof",
            Self::AnnounceFeatures => "AnnounceFeatures",
        }
    }

    /// Whether a server without `--write` refuses it, before its arguments.
    #[must_use]
    pub const fn needs_write(self) -> bool {
        matches!(
            self,
            Self::ImportPaths
                | Self::BuildPaths
                | Self::BuildDerivation
                | Self::AddToStoreNar
                | Self::QueryProofTexts
                | Self::BuildDerivationWithProof
        )
    }

    /// Whether it exists only where both sides have
    /// [`Capabilities::EXTENSIONS`](super::Capabilities::EXTENSIONS).
    #[must_use]
    pub const fn is_extension(self) -> bool {
        self.number() >= 0x100
    }

    /// The feature that must be in force before it is sent.
    #[must_use]
    pub const fn feature(self) -> Option<Feature> {
        match self {
            Self::QueryProofTexts | Self::BuildDerivationWithProof => Some(Feature::Proof),
            _ => None,
        }
    }

    /// The first version that has it. Servers don't check this; clients must.
    #[must_use]
    pub const fn since(self) -> ServeVersion {
        match self {
            Self::BuildDerivation | Self::BuildDerivationWithProof => ServeVersion::v2(1),
            Self::AddToStoreNar => ServeVersion::v2(5),
            _ => ServeVersion::OLDEST,
        }
    }
}

impl fmt::Display for ServeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<u32> for ServeCommand {
    type Error = ProtoError;

    fn try_from(number: u32) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|command| command.number() == u64::from(number))
            .ok_or(ProtoError::UnknownCommand(number))
    }
}

/// The next command, or `None` where the client has ended the connection.
///
/// # Errors
/// The number is unknown or has more than 32 bits, or the stream fails.
pub fn read_command(reader: &mut (impl Read + ?Sized)) -> Result<Option<ServeCommand>> {
    let field = "a command";
    let mut word = [0; 8];
    let mut filled = 0;
    while filled < word.len() {
        match reader.read(&mut word[filled..]) {
            // Nix compat: an end inside the word is as good as one before it.
            Ok(0) => return Ok(None),
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(WireError::Io { field, source }.into()),
        }
    }
    let value = u64::from_le_bytes(word);
    let number = u32::try_from(value).map_err(|_| WireError::IntTooLarge { field, value })?;
    number.try_into().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_from_one_to_nine_and_from_256_on() {
        for (number, command) in (1..=9).chain(0x100..).zip(ServeCommand::ALL) {
            assert_eq!(command.is_extension(), number > 9);
            assert_eq!(command.number(), u64::from(number));
            assert_eq!(ServeCommand::try_from(number).unwrap(), command);
        }
        for unknown in [0, 10, 77, 0xff, 0x103, u32::MAX] {
            let error = ServeCommand::try_from(unknown).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("unknown serve command {unknown}")
            );
        }
    }

    #[test]
    fn an_end_anywhere_in_the_command_word_is_a_clean_end() {
        let word = 9_u64.to_le_bytes();
        for cut in 0..8 {
            assert_eq!(read_command(&mut &word[..cut]).unwrap(), None);
        }
        let command = read_command(&mut &word[..]).unwrap();
        assert_eq!(command, Some(ServeCommand::AddToStoreNar));
        let wide = (1_u64 << 32 | 1).to_le_bytes();
        assert!(read_command(&mut &wide[..]).is_err());
    }

    #[test]
    fn only_commands_that_change_the_store_need_write() {
        let needing: Vec<_> = ServeCommand::ALL
            .into_iter()
            .filter(|c| c.needs_write())
            .map(ServeCommand::number)
            .collect();
        assert_eq!(needing, [4, 6, 8, 9, 0x100, 0x101]);
    }
}
