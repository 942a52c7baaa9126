//! Scripted sessions: what each side sends, item by item, for all versions in one file.
//!
//! ```text
//! # a comment
//! let NAME TEXT                 $NAME in later lines stands for TEXT
//! section TITLE                 the lines up to the next section
//! SIDE [>=M][<M] KIND VALUE     an item that SIDE sends, in versions 2.M and later or before
//! ```
//!
//! `SIDE` is `C` for the client or `S` for the server. The kinds are `u64` with a number,
//! `str` with the rest of the line, `nar` (the archive of a file with the rest of the line
//! as contents), and `version`, the side's version word.

use test_support::{Message, nar};

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A part of a session, with what the sides send in turn.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) turns: Vec<(Side, Vec<u8>)>,
}

/// The sections of `text` in version 2.`minor`, with these version words in the greeting.
pub(crate) fn sections(text: &str, minor: u8, client: u64, server: u64) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut names: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let line = names.iter().fold(line.to_owned(), |line, (name, value)| {
            line.replace(name, value)
        });
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let side = match word {
            "" | "#" => continue,
            "let" => {
                let (name, value) = rest.split_once(' ').expect("a name and a text");
                names.push((format!("${name}"), value.to_owned()));
                continue;
            }
            "section" => {
                sections.push(Section {
                    title: rest.to_owned(),
                    turns: Vec::new(),
                });
                continue;
            }
            "C" => Side::Client,
            "S" => Side::Server,
            other => panic!("'{other}' begins no line of a script"),
        };
        let Some(item) = applicable(rest, minor) else {
            continue;
        };
        let own = if side == Side::Client { client } else { server };
        let bytes = encode(item, own);
        let turns = &mut sections.last_mut().expect("a section first").turns;
        match turns.last_mut() {
            Some((last, turn)) if *last == side => turn.extend(bytes),
            _ => turns.push((side, bytes)),
        }
    }
    sections
}

/// What `side` sends in `sections`, as one stream.
pub(crate) fn stream(sections: &[Section], side: Side) -> Vec<u8> {
    let turns = sections.iter().flat_map(|section| &section.turns);
    let own = turns.filter(|(sender, _)| *sender == side);
    own.flat_map(|(_, bytes)| bytes.clone()).collect()
}

/// The item without its condition, if that holds.
fn applicable(item: &str, minor: u8) -> Option<&str> {
    if !item.starts_with(['>', '<']) {
        return Some(item);
    }
    let (condition, item) = item.split_once(' ').expect("an item after the condition");
    let (from, before) = condition.split_once('<').unwrap_or((condition, "255"));
    let from = from.strip_prefix(">=").unwrap_or("0");
    let number = |text: &str| text.parse::<u8>().expect("a minor version");
    (number(from)..number(before))
        .contains(&minor)
        .then_some(item)
}

fn encode(item: &str, version: u64) -> Vec<u8> {
    let (kind, value) = item.split_once(' ').unwrap_or((item, ""));
    match kind {
        "u64" => Message::new().u64(number(value)).into_bytes(),
        "str" => Message::new().string(value).into_bytes(),
        "nar" => nar::regular(value.as_bytes()),
        "version" => Message::new().u64(version).into_bytes(),
        other => panic!("'{other}' is no kind of item"),
    }
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .expect("a number")
}
