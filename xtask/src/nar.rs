//! The hash and size of a path as an archive, by code that shares nothing with the crates that
//! it judges.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// What an archive comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NarSum {
    /// SHA-256 in base 16.
    pub(crate) hash: String,
    /// In bytes.
    pub(crate) size: u64,
}

/// The sum of the archive of what is at `path`, following no links. `see` is called for each
/// file, directory and link on the way.
pub(crate) fn sum_path(path: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata)) -> Result<NarSum> {
    let mut sink = Sink::default();
    sink.text(b"nix-archive-1");
    sink.node(path, see)?;
    Ok(sink.finish())
}

#[derive(Default)]
struct Sink {
    hash: Sha256,
    size: u64,
}

impl Sink {
    fn node(&mut self, path: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata)) -> Result<()> {
        let meta = fs::symlink_metadata(path)
            .with_context(|| format!("cannot look at '{}'", path.display()))?;
        see(path, &meta);
        self.text(b"(");
        self.text(b"type");
        if meta.is_symlink() {
            self.text(b"symlink");
            self.text(b"target");
            self.text(fs::read_link(path)?.as_os_str().as_bytes());
        } else if meta.is_dir() {
            self.text(b"directory");
            self.entries(path, see)?;
        } else if meta.is_file() {
            self.text(b"regular");
            if meta.mode() & 0o100 != 0 {
                self.text(b"executable");
                self.text(b"");
            }
            self.text(b"contents");
            self.contents(path, meta.len())?;
        } else {
            bail!("'{}' is no file, directory or link", path.display());
        }
        self.text(b")");
        Ok(())
    }

    fn entries(&mut self, dir: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata)) -> Result<()> {
        let mut names = Vec::new();
        let entries =
            fs::read_dir(dir).with_context(|| format!("cannot read '{}'", dir.display()))?;
        for entry in entries {
            names.push(entry?.file_name().into_vec());
        }
        names.sort();
        for name in names {
            for word in [&b"entry"[..], b"(", b"name", &name, b"node"] {
                self.text(word);
            }
            self.node(&dir.join(std::ffi::OsString::from_vec(name)), see)?;
            self.text(b")");
        }
        Ok(())
    }

    fn contents(&mut self, path: &Path, size: u64) -> Result<()> {
        self.bytes(&size.to_le_bytes());
        let mut file =
            fs::File::open(path).with_context(|| format!("cannot open '{}'", path.display()))?;
        let mut buffer = vec![0; 256 * 1024];
        let mut left = size;
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            left = left
                .checked_sub(n as u64)
                .with_context(|| format!("'{}' grew", path.display()))?;
            self.bytes(&buffer[..n]);
        }
        if left > 0 {
            bail!("'{}' shrank", path.display());
        }
        self.padding(size);
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        let size = text.len() as u64;
        self.bytes(&size.to_le_bytes());
        self.bytes(text);
        self.padding(size);
    }

    fn padding(&mut self, size: u64) {
        let zeros = usize::try_from(size.wrapping_neg() % 8).unwrap_or(0);
        self.bytes(&[0; 8][..zeros]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn finish(self) -> NarSum {
        let digest = self.hash.finalize();
        NarSum {
            hash: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            size: self.size,
        }
    }
}

/// A base-16 digest in the base-32 form that Nix prints.
pub(crate) fn to_nix32(hex: &str) -> String {
    encode_nix32(&from_hex(hex))
}

/// A base-16 digest of SHA-256 as `sha256-` and base 64.
pub(crate) fn to_sri(hex: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("sha256-");
    for block in from_hex(hex).chunks(3) {
        let byte = |at: usize| u32::from(block.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4_u32 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let is_padding = digit as usize > block.len();
            text.push(if is_padding {
                '='
            } else {
                char::from(DIGITS[value as usize])
            });
        }
    }
    text
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .filter_map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok())
        .collect()
}

/// Nix's base 32: no `e`, `o`, `t`, `u`, the last digit first.
pub(crate) fn encode_nix32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let len = (bytes.len() * 8).div_ceil(5);
    (0..len)
        .rev()
        .map(|digit| {
            let bit = digit * 5;
            let low = u16::from(bytes[bit / 8]);
            let high = u16::from(bytes.get(bit / 8 + 1).copied().unwrap_or(0));
            let value = ((high << 8 | low) >> (bit % 8)) & 31;
            char::from(DIGITS[usize::from(value)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those that real Nix gives for the same tree.
    #[test]
    fn the_sum_of_a_tree_is_that_of_real_nix() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("b")).unwrap();
        fs::write(root.join("a"), "hello\n").unwrap();
        std::os::unix::fs::symlink("../a", root.join("b/link")).unwrap();
        let mut seen = 0;
        let sum = sum_path(&root, &mut |_, _| seen += 1).unwrap();
        assert_eq!(seen, 4);
        assert_eq!(
            to_nix32(&sum.hash),
            "0zdfv6r3h3ahhs03383qw49kfl86xidms2vy06nj7vk8pj78vi9y"
        );
        assert_eq!(sum.size, 648);
    }

    #[test]
    fn text_forms_of_the_empty_digest() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            to_nix32(hex),
            "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
        );
        assert_eq!(
            to_sri(hex),
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }
}
