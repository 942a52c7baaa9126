//! How far a check of contents came, for the next one if it is cut.
//!
//! `STATE/nix-serve/scrub`, a text:
//!
//! ```text
//! nix-serve scrub 2
//! looks at <contents or metadata>
//! newest <id of the path that had become valid last when the check began>
//! link <name of the last deduplicated file that was looked at>
//! bad-link <name of one that was not in order>             any number
//! after <base name of the last path that was looked at>
//! bad <base name of a path that was not in order>          any number
//! ```
//!
//! It is replaced as a whole, every few seconds, and goes with the end of the check. A path
//! that became valid after the check began is looked at in any case, and so is a bad one. Ids
//! tell which these are, for a path may be registered with a time long ago. A deduplicated file
//! that is newer may be left out: it is part of a path that is newer.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix_base::{StorePath, StorePathSet};

use crate::error::{Error, Result};
use crate::local::LocalStore;

/// The marks of one check.
#[derive(Debug)]
pub(super) struct Marks {
    file: PathBuf,
    text: Text,
    /// What became valid after the check began.
    newer: StorePathSet,
    saved: Instant,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Text {
    looks_at_metadata: bool,
    newest: usize,
    link: Option<String>,
    bad_links: BTreeSet<String>,
    after: Option<StorePath>,
    bad: BTreeSet<StorePath>,
}

impl Marks {
    /// Those of a check that begins. What becomes valid from now on is newer than they are.
    pub(super) fn fresh(store: &LocalStore, looks_at_metadata: bool) -> Result<Self> {
        let text = Text {
            looks_at_metadata,
            newest: store.db.query_last_id()?,
            ..Text::default()
        };
        Ok(Self::new(store, text, StorePathSet::new()))
    }

    /// Those that a check before has left; those of a new one if there are none, none that
    /// can be understood, or only those of a check that looked at less.
    pub(super) fn resume(store: &LocalStore, looks_at_metadata: bool) -> Result<Self> {
        let file = file_of(store);
        let text = match fs::read(&file) {
            Ok(text) => str::from_utf8(&text).ok().and_then(Text::parse),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::fresh(store, looks_at_metadata);
            }
            Err(error) => return Err(Error::io("read", &file, error)),
        };
        match text {
            Some(text) if looks_at_metadata && !text.looks_at_metadata => {
                tracing::info!("metadata were not looked at before: starting anew");
                Self::fresh(store, looks_at_metadata)
            }
            Some(text) => {
                let newer = store.db.query_newer(text.newest)?;
                let text = Text {
                    looks_at_metadata,
                    ..text
                };
                Ok(Self::new(store, text, newer))
            }
            None => {
                tracing::warn!(path = %file.display(), "cannot be understood: starting anew");
                Self::fresh(store, looks_at_metadata)
            }
        }
    }

    fn new(store: &LocalStore, text: Text, newer: StorePathSet) -> Self {
        Self {
            file: file_of(store),
            text,
            newer,
            saved: Instant::now(),
        }
    }

    /// Whether a path was looked at by then, and found in order.
    pub(super) fn covers(&self, path: &StorePath) -> bool {
        let after = self.text.after.as_ref();
        after.is_some_and(|after| path <= after)
            && !self.newer.contains(path)
            && !self.text.bad.contains(path)
    }

    /// Notes that a path was looked at. The order of the paths is kept.
    pub(super) fn passed(&mut self, path: &StorePath, is_bad: bool) -> Result<()> {
        if is_bad {
            self.text.bad.insert(path.clone());
        } else {
            self.text.bad.remove(path);
        }
        if self.text.after.as_ref().is_none_or(|after| after < path) {
            self.text.after = Some(path.clone());
        }
        self.save_if_due()
    }

    /// Whether a deduplicated file was looked at by then, and found in order.
    pub(super) fn covers_link(&self, name: &OsStr) -> bool {
        plain(name).is_some_and(|name| {
            let last = self.text.link.as_deref();
            last.is_some_and(|last| name <= last) && !self.text.bad_links.contains(name)
        })
    }

    /// Notes that a deduplicated file was looked at. The order of the names is kept.
    pub(super) fn passed_link(&mut self, name: &OsStr, is_bad: bool) -> Result<()> {
        let Some(name) = plain(name) else {
            return Ok(());
        };
        if is_bad {
            self.text.bad_links.insert(name.to_owned());
        } else {
            self.text.bad_links.remove(name);
        }
        if self.text.link.as_deref().is_none_or(|last| last < name) {
            self.text.link = Some(name.to_owned());
        }
        self.save_if_due()
    }

    fn save_if_due(&mut self) -> Result<()> {
        match self.saved.elapsed() > INTERVAL {
            true => self.save(),
            false => Ok(()),
        }
    }

    /// Writes the file.
    pub(super) fn save(&mut self) -> Result<()> {
        self.saved = Instant::now();
        if let Some(dir) = self.file.parent() {
            match DirBuilder::new().mode(0o700).create(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("make", dir, error));
                }
                _ => {}
            }
        }
        let temp = self.file.with_extension(std::process::id().to_string());
        write(&temp, &self.text.print())
            .and_then(|()| fs::rename(&temp, &self.file))
            .map_err(|error| {
                // The first error is the one to report.
                let _ = fs::remove_file(&temp);
                Error::io("write", &self.file, error)
            })
    }

    /// Removes the file: the check came to its end.
    pub(super) fn remove(self) -> Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.file, error))
            }
            _ => Ok(()),
        }
    }
}

fn file_of(store: &LocalStore) -> PathBuf {
    store.layout().state.join("nix-serve/scrub")
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc_nofollow())
        .open(file)?;
    file.write_all(text.as_bytes())
}

fn libc_nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

/// The name of a deduplicated file, unless it is none that such a file has: then the file is bad
/// whatever is in it, and always looked at.
fn plain(name: &OsStr) -> Option<&str> {
    name.to_str()
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl Text {
    fn print(&self) -> String {
        let what = match self.looks_at_metadata {
            true => METADATA,
            false => CONTENTS,
        };
        let mut text = format!("{HEAD}\n{what}\nnewest {}\n", self.newest);
        let mut line = |word: &str, name: &dyn Display| {
            text.push_str(&format!("{word} {name}\n"));
        };
        if let Some(link) = &self.link {
            line("link", link);
        }
        self.bad_links.iter().for_each(|bad| line("bad-link", bad));
        if let Some(after) = &self.after {
            line("after", after);
        }
        self.bad.iter().for_each(|bad| line("bad", bad));
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        (lines.next()? == HEAD).then_some(())?;
        let mut parsed = Self {
            looks_at_metadata: match lines.next()? {
                METADATA => true,
                CONTENTS => false,
                _ => return None,
            },
            newest: lines.next()?.strip_prefix("newest ")?.parse().ok()?,
            ..Self::default()
        };
        for line in lines {
            let (word, name) = line.split_once(' ')?;
            let path = || StorePath::from_base_name(name).ok();
            let link = || plain(OsStr::new(name)).map(str::to_owned);
            match word {
                "link" => parsed.link = Some(link()?),
                "bad-link" => drop(parsed.bad_links.insert(link()?)),
                "after" => parsed.after = Some(path()?),
                "bad" => drop(parsed.bad.insert(path()?)),
                _ => return None,
            }
        }
        Some(parsed)
    }
}

const HEAD: &str = "nix-serve scrub 2";
const CONTENTS: &str = "looks at contents";
const METADATA: &str = "looks at metadata";
/// How much work may be lost.
const INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_can_be_read_back() {
        let path =
            |name: &str| StorePath::from_base_name(&format!("{}-{name}", "a".repeat(32))).unwrap();
        let text = Text {
            looks_at_metadata: true,
            newest: 17,
            link: Some("0c".to_owned()),
            bad_links: ["0a".to_owned(), "0b".to_owned()].into(),
            after: Some(path("x")),
            bad: [path("b"), path("c")].into(),
        };
        assert_eq!(Text::parse(&text.print()), Some(text));
        let empty = Text::default();
        assert_eq!(Text::parse(&empty.print()), Some(empty));
    }

    #[test]
    fn a_cut_or_foreign_text_counts_for_nothing() {
        let head = "nix-serve scrub 2\nlooks at contents\nnewest 5\n";
        let whole = format!("{head}after aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x\n");
        assert!(Text::parse(&whole).is_some());
        for end in 0..whole.len() - 1 {
            // A text that ends with a line is a whole one.
            if end != head.len() {
                assert_eq!(Text::parse(&whole[..end]), None, "{end}");
            }
        }
        assert_eq!(Text::parse(&head.replace('2', "1")), None);
        assert_eq!(Text::parse(&head.replace("contents", "names")), None);
        assert_eq!(Text::parse(&format!("{head}after ../x\n")), None);
        assert_eq!(Text::parse(&format!("{head}bad-link a b\n")), None);
    }

    #[test]
    fn names_that_no_deduplicated_file_has_are_never_covered() {
        for name in ["", "a\nb", "../x"] {
            assert_eq!(plain(OsStr::new(name)), None, "{name:?}");
        }
    }
}
