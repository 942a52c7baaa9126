//! nix.conf: lines of `name = words`, `include file`, `!include file`, and comments.
//!
//! ```text
//! line = [ name " = " words | "include" path | "!include" path ] [ "#" comment ]
//! ```
//!
//! Later values win, `extra-NAME` appends. Settings that this program doesn't have are
//! kept without a look at their values: a nix.conf is written for real Nix, which has
//! many more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::setting_names::{canonical_name, is_list};

/// Settings as text, from all sources so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    values: BTreeMap<String, String>,
    /// Lists whose default is to be kept: there was only `extra-NAME`.
    only_appended: BTreeSet<String>,
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A line isn't of the form above.
    #[error("syntax error in configuration line '{line}' in '{origin}'")]
    Syntax {
        /// The line without its comment.
        line: String,
        /// The file, or the variable.
        origin: String,
    },
    /// An included file isn't there.
    #[error("file '{}' included from '{origin}' not found", .file.display())]
    MissingInclude {
        /// The included file.
        file: PathBuf,
        /// The file that includes it.
        origin: String,
    },
    /// Files include each other without end.
    #[error("file '{}' is included more than {MAX_DEPTH} levels deep", .file.display())]
    TooDeep {
        /// The file at which it was given up.
        file: PathBuf,
    },
    /// A value isn't of the setting's type.
    #[error("setting '{name}' has the invalid value '{value}': {expected}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl Config {
    /// Reads a file; one that is missing or can't be read counts as empty.
    pub(crate) fn read_file(&mut self, file: &Path) -> Result<(), ConfigError> {
        match std::fs::read_to_string(file) {
            Ok(text) => self.parse(&text, &Origin::File(file), 0),
            Err(error) => {
                // Nix compat: a file of another user is no reason to fail.
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!("cannot read '{}': {error}", file.display());
                }
                Ok(())
            }
        }
    }

    /// Reads lines that came in the variable `name`.
    pub(crate) fn read_variable(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        self.parse(text, &Origin::Variable(name), 0)
    }

    /// Sets `name`, or appends to it if it begins with `extra-`.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        // An old name may be one that appends.
        let name = canonical_name(name);
        let (name, append) = match name.strip_prefix("extra-") {
            Some(rest) if is_list(canonical_name(rest)) => (rest, true),
            _ => (name, false),
        };
        let name = canonical_name(name);
        if !append {
            self.only_appended.remove(name);
        } else if !self.values.contains_key(name) {
            self.only_appended.insert(name.to_owned());
        }
        let slot = self.values.entry(name.to_owned()).or_default();
        if !append {
            slot.clear();
        } else if !slot.is_empty() && !value.is_empty() {
            slot.push(' ');
        }
        slot.push_str(value);
    }

    /// The text of a setting.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The text of a setting that isn't empty.
    pub(crate) fn full(&self, name: &str) -> Option<&str> {
        self.value(name).filter(|value| !value.is_empty())
    }

    /// The words of a list.
    pub(crate) fn words(&self, name: &str) -> Option<Vec<&str>> {
        Some(self.value(name)?.split_whitespace().collect())
    }

    /// Whether a list was only added to, so that its default is part of it.
    pub(crate) fn is_only_appended(&self, name: &str) -> bool {
        self.only_appended.contains(name)
    }

    /// All settings as lines.
    pub(crate) fn text(&self) -> String {
        let lines = self.values.iter();
        lines
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect()
    }

    /// [`Self::boolean`], or what it is if nobody says.
    pub(crate) fn switch(&self, name: &'static str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.boolean(name)?.unwrap_or(default))
    }

    /// A setting that is a whole number.
    pub(crate) fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, ConfigError> {
        self.parsed(name, "expected a whole number", |text| text.parse().ok())
    }

    /// A setting that is a number of bytes.
    pub(crate) fn size(&self, name: &'static str) -> Result<Option<u64>, ConfigError> {
        self.parsed(
            name,
            "expected a number of bytes, perhaps with K, M, G or T behind it",
            parse_size,
        )
    }

    /// A list each of whose words `parse` understands.
    pub(crate) fn parsed_words<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let words = self.parsed(name, expected, |text| {
            text.split_whitespace().map(parse).collect()
        })?;
        Ok(words.unwrap_or_default())
    }

    /// A setting that is true or false.
    pub(crate) fn boolean(&self, name: &'static str) -> Result<Option<bool>, ConfigError> {
        self.parsed(name, "expected 'true' or 'false'", |text| match text {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => None,
        })
    }

    /// A setting of any type; `expected` says what `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        parse(value).map(Some).ok_or_else(|| ConfigError::Value {
            name,
            value: value.to_owned(),
            expected,
        })
    }

    fn parse(&mut self, text: &str, origin: &Origin<'_>, depth: u32) -> Result<(), ConfigError> {
        for line in text.lines() {
            let content = line.split('#').next().unwrap_or_default();
            let mut words = content.split([' ', '\t', '\r']).filter(|w| !w.is_empty());
            let Some(name) = words.next() else { continue };
            let rest: Vec<&str> = words.collect();
            match (name, rest.as_slice()) {
                ("include", [file]) => self.include(file, Required::Yes, origin, depth)?,
                ("!include", [file]) => self.include(file, Required::No, origin, depth)?,
                (name, ["=", words @ ..]) => self.set(name, &words.join(" ")),
                _ => {
                    return Err(ConfigError::Syntax {
                        line: content.trim().to_owned(),
                        origin: origin.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    fn include(
        &mut self,
        file: &str,
        required: Required,
        origin: &Origin<'_>,
        depth: u32,
    ) -> Result<(), ConfigError> {
        let file = origin.directory().join(file);
        if depth >= MAX_DEPTH {
            return Err(ConfigError::TooDeep { file });
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => self.parse(&text, &Origin::File(&file), depth + 1),
            Err(_) if required == Required::No => Ok(()),
            Err(_) => Err(ConfigError::MissingInclude {
                file,
                origin: origin.to_string(),
            }),
        }
    }
}

/// Bytes, in powers of 1024.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Required {
    Yes,
    No,
}

/// Where lines come from.
enum Origin<'a> {
    File(&'a Path),
    Variable(&'a str),
}

impl Origin<'_> {
    /// What included names are relative to.
    fn directory(&self) -> &Path {
        match self {
            Self::File(file) => file.parent().unwrap_or(Path::new("/")),
            Self::Variable(_) => Path::new("."),
        }
    }
}

impl std::fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

const MAX_DEPTH: u32 = 32;

#[cfg(test)]
mod tests;
