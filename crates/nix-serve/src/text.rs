//! Text of other people's making, made fit for a terminal, a log or an error message.
//!
//! Control characters (C0, DEL and C1, so escape sequences too) become visible escapes,
//! newline and tab stay, and bytes that are not UTF-8 are shown as hexadecimal.

/// `bytes` with everything that could act on a terminal made visible.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\n' && c != '\t' {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Like [`printable`], but without colours and other escape sequences of the form
/// `ESC [ … letter`, which real Nix puts into its messages.
#[must_use]
pub fn plain(bytes: &[u8]) -> String {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(start) = rest.windows(2).position(|pair| pair == b"\x1b[") {
        kept.extend_from_slice(&rest[..start]);
        let sequence = &rest[start + 2..];
        let parameters = sequence
            .iter()
            .take_while(|b| (0x20..0x40).contains(*b))
            .count();
        match sequence.get(parameters) {
            Some(0x40..=0x7e) => rest = &sequence[parameters + 1..],
            _ => {
                kept.push(0x1b);
                rest = &rest[start + 1..];
            }
        }
    }
    kept.extend_from_slice(rest);
    printable(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_raw_bytes_become_visible() {
        assert_eq!(
            printable(b"a\x1b[31mb\x07\tc\n\xff\xc2\x85"),
            "a\\u{1b}[31mb\\u{7}\tc\n\\xff\\u{85}"
        );
        assert_eq!(printable("grün".as_bytes()), "grün");
    }

    #[test]
    fn colours_are_dropped_and_other_escapes_shown() {
        let message = b"\x1b[31;1merror:\x1b[0m builder for '\x1b[35;1m/x\x1b[0m' failed";
        assert_eq!(plain(message), "error: builder for '/x' failed");
        assert_eq!(
            plain(b"\x1b]0;title\x07 \x1b["),
            "\\u{1b}]0;title\\u{7} \\u{1b}["
        );
    }
}
