//! What stands around the contents in the archive of a single file, for those who hash
//! files one by one and have no use for a buffer between.

use crate::token::{self, CLOSE, EXECUTABLE, NODE_OPEN, REGULAR, START, SYMLINK};

/// Appends to `out` what the archive of a regular file of `size` bytes has before the
/// contents. `None`, and nothing done, if no archive can hold so much.
pub fn regular_head(executable: bool, size: u64, out: &mut Vec<u8>) -> Option<()> {
    token::padded(size)?;
    out.extend_from_slice(START.bytes);
    out.extend_from_slice(NODE_OPEN.bytes);
    out.extend_from_slice(if executable { EXECUTABLE } else { REGULAR }.bytes);
    out.extend_from_slice(&size.to_le_bytes());
    Some(())
}

/// What the archive of a regular file of `size` bytes has behind the contents.
#[must_use]
pub fn regular_tail(size: u64) -> &'static [u8] {
    &TAIL[MAX_PADDING - token::padding(size)..]
}

/// Appends the archive of a symbolic link to `out`.
pub fn symlink(target: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(START.bytes);
    out.extend_from_slice(NODE_OPEN.bytes);
    out.extend_from_slice(SYMLINK.bytes);
    out.extend_from_slice(&(target.len() as u64).to_le_bytes());
    out.extend_from_slice(target);
    out.extend_from_slice(regular_tail(target.len() as u64));
}

/// The most zeros behind a string.
const MAX_PADDING: usize = 7;

/// Padding and the end of the node.
const TAIL: [u8; MAX_PADDING + CLOSE.bytes.len()] = {
    let mut tail = [0; MAX_PADDING + CLOSE.bytes.len()];
    let mut i = 0;
    while i < CLOSE.bytes.len() {
        tail[MAX_PADDING + i] = CLOSE.bytes[i];
        i += 1;
    }
    tail
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NarWriter, write_regular};

    #[test]
    fn head_contents_and_tail_are_the_archive() {
        for executable in [false, true] {
            for size in 0..=17_u8 {
                let contents = vec![b'x'; usize::from(size)];
                let mut whole = Vec::new();
                write_regular(&contents, executable, &mut whole).unwrap();
                let mut framed = Vec::new();
                regular_head(executable, u64::from(size), &mut framed).unwrap();
                framed.extend_from_slice(&contents);
                framed.extend_from_slice(regular_tail(u64::from(size)));
                assert_eq!(framed, whole, "{size}");
            }
        }
        assert_eq!(regular_head(false, u64::MAX, &mut Vec::new()), None);
    }

    #[test]
    fn a_link_is_the_archive_of_a_link() {
        for target in ["a", "12345678", "../some/where"] {
            let mut writer = NarWriter::new(Vec::new());
            writer.symlink(b"", target.as_bytes()).unwrap();
            let (whole, _) = writer.finish().unwrap();
            let mut framed = Vec::new();
            symlink(target.as_bytes(), &mut framed);
            assert_eq!(framed, whole);
        }
    }
}
