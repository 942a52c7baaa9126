//! Nix's base-32: alphabet `0123456789abcdfghijklmnpqrsvwxyz`, least significant bit
//! first, digits printed in reverse order.
//!
//! Not RFC 4648: `n` bytes are read as one little-endian bit string, digit `k` covers
//! the bits `5k … 5k+4`, and the highest digit is printed first.

use std::sync::LazyLock;

use data_encoding::{BitOrder, Encoding, Specification};

/// The 32 digits in order of their value; `e`, `o`, `u` and `t` are missing.
pub const ALPHABET: &str = "0123456789abcdfghijklmnpqrsvwxyz";

static ENCODING: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str(ALPHABET);
    spec.bit_order = BitOrder::LeastSignificantFirst;
    spec.check_trailing_bits = true;
    spec.encoding()
        .expect("32 distinct ASCII symbols make an encoding")
});

/// Text that is not nix32, or has bits beyond its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid base-32 text at character {position}")]
pub struct Nix32Error {
    /// Index of the offending character, counted from the left.
    pub position: usize,
}

/// Number of digits that encode `len` bytes.
#[must_use]
pub const fn encoded_len(len: usize) -> usize {
    (len * 8).div_ceil(5)
}

/// The nix32 text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut digits = vec![0; encoded_len(bytes.len())];
    ENCODING.encode_mut(bytes, &mut digits);
    digits.reverse();
    String::from_utf8(digits).expect("the alphabet is ASCII")
}

/// The bytes that `text` encodes.
///
/// # Errors
/// A character outside the alphabet, a length that no byte count has, or set bits
/// that would fall beyond the last byte.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, Nix32Error> {
    let mut digits = text.to_vec();
    digits.reverse();
    ENCODING.decode(&digits).map_err(|e| Nix32Error {
        position: text.len().saturating_sub(e.position + 1),
    })
}

/// Whether `byte` is one of the 32 digits.
#[must_use]
pub const fn is_digit(byte: u8) -> bool {
    // Without branches, so that a whole path is checked by vector instructions.
    let is_missing = (byte == b'e') | (byte == b'o') | (byte == b't') | (byte == b'u');
    (byte.wrapping_sub(b'0') < 10) | ((byte.wrapping_sub(b'a') < 26) & !is_missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_published_digests() {
        let md5_of_empty = decode(b"3y8bwfr609h3lh9ch0izcqq7fl").unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&md5_of_empty),
            "d41d8cd98f00b204e9800998ecf8427e"
        );
        assert_eq!(encode(&md5_of_empty), "3y8bwfr609h3lh9ch0izcqq7fl");
        assert_eq!(encode(b""), "");
    }

    #[test]
    fn refuses_bits_beyond_the_last_byte() {
        let mut text = vec![b'0'; 52];
        assert!(decode(&text).is_ok());
        text[0] = b'1';
        assert!(decode(&text).is_ok());
        text[0] = b'2';
        assert!(decode(&text).is_err());
    }

    #[test]
    fn digits_are_exactly_the_alphabet() {
        for byte in 0..=255u8 {
            assert_eq!(is_digit(byte), ALPHABET.as_bytes().contains(&byte));
        }
        assert_eq!(decode(b"0e").unwrap_err().position, 1);
    }

    proptest::proptest! {
        #[test]
        fn decode_undoes_encode(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..70)) {
            let text = encode(&bytes);
            proptest::prop_assert_eq!(text.len(), encoded_len(bytes.len()));
            proptest::prop_assert_eq!(decode(text.as_bytes()).unwrap(), bytes);
        }
    }
}
