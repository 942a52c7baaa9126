//! From the bytes of a builder to the lines that are shown.
//!
//! ```text
//! LF           ends a line; CR LF does as well
//! CR           back to the first column: what follows overwrites
//! @nix {…}     a message of the builder; of these only urgent texts are shown
//! ```
//!
//! All other bytes pass as they are. A line of which more than [`MAX_HELD`] bytes are held
//! is given out in pieces.

use std::collections::VecDeque;

use serde_json::Value;

/// Bytes of a line that are held in memory at most.
pub const MAX_HELD: usize = 64 * 1024;

/// Starts a line that is a message.
const MESSAGE: &[u8] = b"@nix ";

/// The level of errors, which a server shows; it shows no other level.
const URGENT: u64 = 0;

/// Cuts a log into lines.
#[derive(Debug, Default)]
pub struct LogLines {
    /// The line so far.
    held: Vec<u8>,
    /// Where the next byte goes.
    column: usize,
    /// A return whose next byte decides what it means.
    returned: bool,
    /// Part of the line has been given out.
    broken: bool,
}

impl LogLines {
    /// At the start of a log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives out the lines that end in them, without terminators.
    pub fn push(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(&[u8])) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.returned) && bytes[0] != b'\n' {
                self.column = 0;
            }
            let plain = memchr::memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
            self.write(&bytes[..plain], show);
            match bytes.get(plain) {
                Some(b'\n') => self.end_line(show),
                Some(_) => self.returned = true,
                None => {}
            }
            bytes = bytes.get(plain + 1..).unwrap_or_default();
        }
    }

    /// Gives out the last line if it has no end.
    pub fn finish(&mut self, show: &mut dyn FnMut(&[u8])) {
        self.returned = false;
        if !self.held.is_empty() {
            self.end_line(show);
        }
    }

    /// Puts bytes into the line at the column.
    fn write(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.column == MAX_HELD {
                show(&self.held);
                self.held.clear();
                self.column = 0;
                self.broken = true;
            }
            let (now, later) = bytes.split_at(bytes.len().min(MAX_HELD - self.column));
            let end = self.column + now.len();
            let over = now.len().min(self.held.len() - self.column);
            self.held[self.column..self.column + over].copy_from_slice(&now[..over]);
            self.held.extend_from_slice(&now[over..]);
            self.column = end;
            bytes = later;
        }
    }

    fn end_line(&mut self, show: &mut dyn FnMut(&[u8])) {
        let whole = !std::mem::take(&mut self.broken);
        self.column = 0;
        match self
            .held
            .strip_prefix(MESSAGE)
            .filter(|_| whole)
            .map(read_message)
        {
            None | Some(Ok(Message::Other)) => show(&self.held),
            Some(Ok(Message::Activity)) => {}
            Some(Ok(Message::Text(text))) => text.lines().for_each(|line| show(line.as_bytes())),
            Some(Err(error)) => {
                let complaint =
                    format!("bad JSON log message from the derivation builder: {error}");
                show(complaint.as_bytes());
                show(&self.held);
            }
        }
        self.held.clear();
    }
}

/// What a builder says to the program that started it.
enum Message {
    /// What it does.
    Activity,
    /// Something to be shown.
    Text(String),
    /// JSON that is no message.
    Other,
}

/// Reads what is behind the prefix. Its size is bounded, and its depth by the parser.
fn read_message(json: &[u8]) -> serde_json::Result<Message> {
    let message: Value = serde_json::from_slice(json)?;
    Ok(match message["action"].as_str() {
        None => Message::Other,
        Some("msg") => match (message["level"].as_u64(), message["msg"].as_str()) {
            (Some(URGENT), Some(text)) => Message::Text(text.to_owned()),
            (Some(_), Some(_)) => Message::Activity,
            _ => Message::Other,
        },
        Some(_) => Message::Activity,
    })
}

/// The last lines of a log.
#[derive(Debug, Clone)]
pub struct Tail {
    lines: VecDeque<Vec<u8>>,
    most: usize,
}

impl Tail {
    /// Keeps `most` lines.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            most,
        }
    }

    /// Takes the next line.
    pub fn push(&mut self, line: &[u8]) {
        if self.most == 0 {
            return;
        }
        while self.lines.len() >= self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_vec());
    }

    /// The lines, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.lines.iter().map(Vec::as_slice)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests;
