//! The tokens of the archive grammar, framed as they stand on the wire.
//!
//! Each token is a string of the serve protocol: its length as a little-endian
//! `u64`, its bytes, and zeros up to a multiple of eight. Where the grammar
//! leaves no choice the tokens are joined, so that a reader compares, and a
//! writer copies, the whole run at once.
//!
//! ```text
//! nar   = magic node
//! node  = "(" "type" ( "regular" [ "executable" "" ] "contents" bytes
//!                    | "symlink" "target" bytes
//!                    | "directory" { entry } ) ")"
//! entry = "entry" "(" "name" bytes "node" node ")"
//! ```

/// The deepest node has fewer than this many directories above it.
pub const MAX_DEPTH: usize = 64;

/// The longest name of a directory entry, in bytes.
pub const MAX_NAME: usize = 255;

/// The longest target of a symbolic link, in bytes.
pub const MAX_TARGET: usize = 4095;

/// The longest keyword that a reader takes in, in bytes.
pub(crate) const MAX_TAG: usize = 32;

/// A run of tokens: its bytes, and the words in it.
pub(crate) struct Run {
    pub(crate) bytes: &'static [u8],
    pub(crate) words: &'static [&'static str],
}

/// The first token of every archive.
pub(crate) const MAGIC: &str = "nix-archive-1";

macro_rules! runs {
    ($($(#[$doc:meta])* $name:ident = $($word:literal)*;)*) => {
        $($(#[$doc])* pub(crate) const $name: Run = Run {
            bytes: {
                const WORDS: &[&str] = &[$($word),*];
                const BYTES: [u8; framed_len(WORDS)] = frame(WORDS);
                &BYTES
            },
            words: &[$($word),*],
        };)*
    };
}

runs! {
    /// The magic.
    START = "nix-archive-1";
    /// Up to the type of a node.
    NODE_OPEN = "(" "type";
    /// A regular file, up to the length of its contents.
    REGULAR = "regular" "contents";
    /// An executable file, up to the length of its contents.
    EXECUTABLE = "regular" "executable" "" "contents";
    /// A symbolic link, up to its target.
    SYMLINK = "symlink" "target";
    /// A directory, up to its first entry.
    DIRECTORY = "directory";
    /// An entry, up to its name.
    ENTRY = "entry" "(" "name";
    /// Between the name of an entry and the type of its node.
    ENTRY_NODE = "node" "(" "type";
    /// The end of a node that is the root.
    CLOSE = ")";
    /// The end of a node that is an entry, and of the entry.
    CLOSE_ENTRY = ")" ")";
    /// What follows the type of a regular file that is executable.
    EXECUTABLE_REST = "" "contents";
}

/// The size of an archive is the sum of these sizes (in bytes): the magic, and
/// one node with all its entries.
pub mod size {
    use super::padded;

    /// The magic that every archive begins with.
    pub const MAGIC: u64 = 24;

    /// A regular file with contents of the length `len`; `None` beyond `u64`.
    pub fn regular(len: u64, executable: bool) -> Option<u64> {
        padded(len)?.checked_add(if executable { 120 } else { 88 })
    }

    /// A symbolic link with a target of the length `len`; `None` beyond `u64`.
    pub fn symlink(len: u64) -> Option<u64> {
        padded(len)?.checked_add(88)
    }

    /// A directory without its entries.
    pub const DIRECTORY: u64 = 72;

    /// An entry without its node, with a name of the length `len`; `None` beyond `u64`.
    pub fn entry(len: u64) -> Option<u64> {
        padded(len)?.checked_add(88)
    }
}

/// `len` rounded up to a multiple of eight; `None` beyond `u64`.
pub(crate) fn padded(len: u64) -> Option<u64> {
    Some(len.checked_add(7)? & !7)
}

/// How many zeros follow `len` bytes.
pub(crate) fn padding(len: u64) -> usize {
    // The result is below 8.
    (len.wrapping_neg() & 7) as usize
}

const fn framed_len(words: &[&str]) -> usize {
    let mut total = 0;
    let mut i = 0;
    while i < words.len() {
        total += 8 + words[i].len().div_ceil(8) * 8;
        i += 1;
    }
    total
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "keywords are far shorter than 256 bytes"
)]
const fn frame<const N: usize>(words: &[&str]) -> [u8; N] {
    let mut out = [0; N];
    let mut at = 0;
    let mut i = 0;
    while i < words.len() {
        let word = words[i].as_bytes();
        out[at] = word.len() as u8;
        at += 8;
        let mut j = 0;
        while j < word.len() {
            out[at + j] = word[j];
            j += 1;
        }
        at += word.len().div_ceil(8) * 8;
        i += 1;
    }
    out
}
