//! SHA-256 and the store paths that follow from it.

use sha2::{Digest, Sha256};

/// The hash of `bytes` in base 16.
pub(crate) fn hex(bytes: &[u8]) -> String {
    digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The hash of `bytes` in nix32.
pub(crate) fn nix32(bytes: &[u8]) -> String {
    to_nix32(&digest(bytes))
}

/// The path that `nix-store --add` gives an archive under this name.
pub(crate) fn source_path(nar: &[u8], name: &str) -> String {
    let fingerprint = format!("source:sha256:{}:/nix/store:{name}", hex(nar));
    let mut folded = [0_u8; 20];
    for (index, byte) in digest(fingerprint.as_bytes()).iter().enumerate() {
        folded[index % 20] ^= byte;
    }
    format!("/nix/store/{}-{name}", to_nix32(&folded))
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

fn to_nix32(bytes: &[u8]) -> String {
    let digits = (bytes.len() * 8).div_ceil(5);
    (0..digits)
        .rev()
        .map(|digit| {
            let bit = digit * 5;
            let low = u16::from(bytes[bit / 8]);
            let high = bytes.get(bit / 8 + 1).map_or(0, |&byte| u16::from(byte));
            let value = ((low | high << 8) >> (bit % 8)) & 31;
            char::from(b"0123456789abcdfghijklmnpqrsvwxyz"[usize::from(value)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_the_empty_hash_as_nix_does() {
        assert_eq!(
            nix32(b""),
            "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
        );
    }
}
