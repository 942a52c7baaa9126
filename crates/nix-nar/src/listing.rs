//! Listings: what an archive contains and where, as JSON (`.ls` files).
//!
//! ```text
//! { "version": 1, "root": node }
//! node = { "type": "regular", "size": n, "executable": true?, "narOffset": n? }
//!      | { "type": "symlink", "target": text }
//!      | { "type": "directory", "entries": { name: node … } }
//! ```
//!
//! JSON has no way to say a name or target that is not UTF-8: such an archive
//! has no listing.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use bstr::{BStr, ByteSlice};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::read::{Event, NarReader, Node};
use crate::token::MAX_DEPTH;

#[cfg(test)]
mod tests;

/// A node of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListingNode {
    /// A regular file.
    Regular {
        /// Size in bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
        /// Where its contents begin in the archive, in bytes, if known.
        nar_offset: Option<u64>,
    },
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: String,
    },
    /// A directory.
    Directory {
        /// Its entries.
        entries: BTreeMap<String, Self>,
    },
}

/// Reads one archive and writes its listing, holding no more of it than one node.
///
/// # Errors
/// [`Error::NotUtf8`] for names and targets that JSON cannot say; those of [`NarReader::next`].
pub fn write_listing<R: BufRead, W: Write>(
    nar: &mut NarReader<R, W>,
    out: &mut impl Write,
) -> Result<()> {
    // For each open directory, whether it has entries so far.
    let mut filled: Vec<bool> = Vec::new();
    let mut text = String::from(r#"{"version":1,"root":"#);
    while let Some(event) = nar.next()? {
        match event {
            Event::EndDirectory => {
                filled.pop();
                text.push_str("}}");
            }
            Event::Node { name, node } => {
                if let Some(filled) = filled.last_mut() {
                    let Some(name) = quote(name) else {
                        return Err(not_utf8(nar));
                    };
                    if std::mem::replace(filled, true) {
                        text.push(',');
                    }
                    text.push_str(&name);
                    text.push(':');
                }
                match node {
                    Node::Directory => {
                        text.push_str(r#"{"type":"directory","entries":{"#);
                        filled.push(false);
                    }
                    Node::Symlink { target } => {
                        let Some(target) = quote(target) else {
                            return Err(not_utf8(nar));
                        };
                        text.push_str(&format!(r#"{{"type":"symlink","target":{target}}}"#));
                    }
                    Node::Regular { executable, size } => {
                        let executable = if executable {
                            r#","executable":true"#
                        } else {
                            ""
                        };
                        let offset = nar.offset();
                        text.push_str(&format!(
                            r#"{{"type":"regular","size":{size}{executable},"narOffset":{offset}}}"#
                        ));
                    }
                }
            }
        }
        put(&mut text, nar.offset(), out)?;
    }
    text.push('}');
    put(&mut text, nar.offset(), out)
}

fn put(text: &mut String, offset: u64, out: &mut impl Write) -> Result<()> {
    let written = out.write_all(text.as_bytes());
    text.clear();
    written.map_err(|source| Error::Write { offset, source })
}

fn not_utf8<R: BufRead, W: Write>(nar: &NarReader<R, W>) -> Error {
    Error::NotUtf8 { path: nar.path() }
}

impl ListingNode {
    /// Reads a listing and gives its root.
    ///
    /// # Errors
    /// [`Error::ListingSyntax`] for what is no JSON, [`Error::BadListing`] for what is no listing.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let bad = |problem| Error::BadListing {
            path: String::new(),
            problem,
        };
        let mut value: Value =
            serde_json::from_slice(json).map_err(|source| Error::ListingSyntax { source })?;
        if value.get("version").and_then(Value::as_u64) != Some(1) {
            return Err(bad("'version' is not 1"));
        }
        match value.get_mut("root").map(Value::take) {
            Some(Value::Object(root)) => Self::from_object(root, "", 0),
            _ => Err(bad("'root' is not an object")),
        }
    }

    /// Recursion is bounded by the depth of an archive.
    fn from_object(mut object: Map<String, Value>, path: &str, depth: usize) -> Result<Self> {
        let bad = |problem| Error::BadListing {
            path: path.to_owned(),
            problem,
        };
        match object.get("type").and_then(Value::as_str) {
            Some("regular") => Ok(Self::Regular {
                size: number(&object, "size")
                    .flatten()
                    .ok_or_else(|| bad("'size' is not a size"))?,
                executable: match object.get("executable") {
                    None => false,
                    Some(Value::Bool(executable)) => *executable,
                    Some(_) => return Err(bad("'executable' is not a truth value")),
                },
                nar_offset: match number(&object, "narOffset") {
                    None => None,
                    // Nix compat: 0 stands for an offset that is not known.
                    Some(Some(offset)) => Some(offset).filter(|&offset| offset > 0),
                    Some(None) => return Err(bad("'narOffset' is not an offset")),
                },
            }),
            Some("symlink") => match object.remove("target") {
                Some(Value::String(target)) => Ok(Self::Symlink { target }),
                _ => Err(bad("'target' is not a text")),
            },
            Some("directory") => {
                let Some(Value::Object(listed)) = object.remove("entries") else {
                    return Err(bad("'entries' is not an object"));
                };
                let mut entries = BTreeMap::new();
                for (name, value) in listed {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}/{name}")
                    };
                    let bad = |problem| Error::BadListing {
                        path: path.clone(),
                        problem,
                    };
                    if crate::names::check_name(name.as_bytes()).is_err() {
                        return Err(bad("not a file name"));
                    }
                    if depth + 1 >= MAX_DEPTH {
                        return Err(bad("nested too deep"));
                    }
                    let Value::Object(node) = value else {
                        return Err(bad("not an object"));
                    };
                    entries.insert(name, Self::from_object(node, &path, depth + 1)?);
                }
                Ok(Self::Directory { entries })
            }
            _ => Err(bad("unknown 'type'")),
        }
    }
}

/// The number of a key: absent, no number, or a number.
fn number(object: &Map<String, Value>, key: &str) -> Option<Option<u64>> {
    object.get(key).map(Value::as_u64)
}

/// A JSON string; `None` for what is not UTF-8.
fn quote(text: &BStr) -> Option<String> {
    Some(Value::from(text.to_str().ok()?).to_string())
}
