//! An annotated hex dump of a session, for people and for snapshots.
//!
//! The protocol is a sequence of 8-byte words, so there is one line a word,
//! but a string, which is recognised by its length, its text and its zero
//! padding, has one line in all:
//!
//! ```text
//! C 0000  eb9d0c3900000000  client magic
//! C 0010  0300000000000000  "abc"
//! S 0000  cbee525400000000  server magic
//! ```

use std::fmt::Write;

use crate::session::{CLIENT_MAGIC, SERVER_MAGIC};

/// Who sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// What was sent in either direction, in order.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    turns: Vec<(Side, Vec<u8>)>,
}

impl Transcript {
    /// Adds bytes; those of the same side in a row make one turn.
    pub fn record(&mut self, side: Side, bytes: &[u8]) {
        match self.turns.last_mut() {
            Some((last, turn)) if *last == side => turn.extend_from_slice(bytes),
            _ => self.turns.push((side, bytes.to_vec())),
        }
    }

    /// The dump. Offsets count from the beginning of each side's stream.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut offsets = [0_usize; 2];
        for (side, bytes) in &self.turns {
            let (letter, offset) = match side {
                Side::Client => ('C', &mut offsets[0]),
                Side::Server => ('S', &mut offsets[1]),
            };
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (taken, note) = annotate(rest);
                let hex: String = rest
                    .iter()
                    .take(8)
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                writeln!(text, "{letter} {offset:04x}  {hex:<16}  {note}")
                    .expect("writing to a string cannot fail");
                *offset += taken;
                rest = &rest[taken..];
            }
        }
        text
    }
}

/// How many bytes the next line covers, and what they mean.
fn annotate(bytes: &[u8]) -> (usize, String) {
    let Some(word) = bytes.first_chunk::<8>() else {
        return (bytes.len(), "(cut)".to_owned());
    };
    match u64::from_le_bytes(*word) {
        CLIENT_MAGIC => (8, "client magic".to_owned()),
        SERVER_MAGIC => (8, "server magic".to_owned()),
        0x4558_494e => (8, "export magic".to_owned()),
        number @ 0x200..=0x20f => (8, format!("version {}.{}", number >> 8, number & 0xff)),
        number => match text_after(number, &bytes[8..]) {
            Some((padded, text)) => (8 + padded, format!("{text:?}")),
            None if number >> 32 == 0 => (8, number.to_string()),
            None => (8, format!("{:?}", String::from_utf8_lossy(word))),
        },
    }
}

/// The string of `length` bytes that begins here, if it looks like one.
fn text_after(length: u64, bytes: &[u8]) -> Option<(usize, &str)> {
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (1..=4096).contains(length))?;
    let padded = length.next_multiple_of(8);
    let (text, padding) = bytes.get(..padded)?.split_at(length);
    let text = std::str::from_utf8(text).ok()?;
    let printable = text
        .chars()
        .all(|letter| !letter.is_control() || letter.is_ascii_whitespace());
    (printable && padding.iter().all(|&byte| byte == 0)).then_some((padded, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Message;

    #[test]
    fn strings_take_one_line_and_numbers_another() {
        let mut transcript = Transcript::default();
        let hello = Message::new()
            .u64(CLIENT_MAGIC)
            .u64(0x207)
            .u64(1)
            .string("abc")
            .string("");
        transcript.record(Side::Client, &hello.as_bytes()[..20]);
        transcript.record(Side::Client, &hello.as_bytes()[20..]);
        transcript.record(
            Side::Server,
            Message::new().u64(SERVER_MAGIC).raw_owned(b"xy").as_bytes(),
        );
        insta::assert_snapshot!(transcript.render(), @r#"
        C 0000  eb9d0c3900000000  client magic
        C 0008  0702000000000000  version 2.7
        C 0010  0100000000000000  1
        C 0018  0300000000000000  "abc"
        C 0028  0000000000000000  0
        S 0000  cbee525400000000  server magic
        S 0008  7879              (cut)
        "#);
    }
}
