//! Arguments of `QueryProofTexts`, whose reply is a set of the same kind.
//!
//! Those of `BuildDerivationWithProof` are those of `BuildDerivation`, and behind them a
//! proof in the wire form of `nix-drv`.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use nix_base::{WireRead, WireWrite};

use super::Result;
use super::limit::MAX_PROOF_TEXTS;

pub use nix_drv::proof::TextHash;

/// Reads a set of hashes: a number, and 32 bytes for each.
///
/// # Errors
/// The stream ends or fails, or there are too many.
pub fn read_text_hashes(
    field: &'static str,
    reader: &mut (impl Read + ?Sized),
) -> Result<BTreeSet<TextHash>> {
    let count = reader.read_count(field, MAX_PROOF_TEXTS)?;
    let mut hashes = BTreeSet::new();
    for _ in 0..count {
        let mut hash = TextHash::default();
        for part in hash.chunks_exact_mut(8) {
            part.copy_from_slice(&reader.read_u64(field)?.to_le_bytes());
        }
        hashes.insert(hash);
    }
    Ok(hashes)
}

/// Writes a set of hashes.
///
/// # Errors
/// The stream fails.
pub fn write_text_hashes(
    hashes: &BTreeSet<TextHash>,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_u64(hashes.len() as u64)?;
    hashes.iter().try_for_each(|hash| writer.write_all(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_plain_bytes_behind_their_number() {
        let mut counting = [0; 32];
        counting.iter_mut().zip(0..).for_each(|(byte, i)| *byte = i);
        let hashes = BTreeSet::from([[7; 32], counting]);
        let mut bytes = Vec::new();
        write_text_hashes(&hashes, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 8 + 64);
        assert_eq!(bytes[..12], [2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(read_text_hashes("x", &mut &bytes[..]).unwrap(), hashes);
        for cut in 0..bytes.len() {
            assert!(read_text_hashes("x", &mut &bytes[..cut]).is_err());
        }
    }

    #[test]
    fn more_than_the_limit_is_refused_before_any_comes() {
        for count in [MAX_PROOF_TEXTS + 1, u64::MAX] {
            let error = read_text_hashes("x", &mut &count.to_le_bytes()[..]).unwrap_err();
            assert!(!error.is_eof(), "{error}");
        }
    }
}
