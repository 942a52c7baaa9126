//! How far a check of contents came, for the next one if it is cut.
//!
//! `STATE/nix-serve/scrub`, a text:
//!
//! ```text
//! nix-serve scrub 1
//! started <seconds since 1970>
//! after <base name of the last path that was looked at>
//! bad <base name of a path that was not in order>          any number
//! ```
//!
//! It is replaced as a whole, every few seconds, and goes with the end of the check. A path
//! that became valid after the check began is looked at in any case, and so is a bad one.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix_base::{StorePath, ValidPathInfo};

use crate::error::{Error, Result};
use crate::local::LocalStore;

/// The marks of one check.
#[derive(Debug)]
pub(super) struct Marks {
    file: PathBuf,
    text: Text,
    saved: Instant,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Text {
    started: i64,
    after: Option<StorePath>,
    bad: BTreeSet<StorePath>,
}

impl Marks {
    /// Those of a check that begins.
    pub(super) fn fresh(store: &LocalStore) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let text = Text {
            started: since.map_or(0, |t| i64::try_from(t.as_secs()).unwrap_or(i64::MAX)),
            ..Text::default()
        };
        Self::new(store, text)
    }

    /// Those that a check before has left; those of a new one if there are none, or none that
    /// can be understood.
    pub(super) fn resume(store: &LocalStore) -> Result<Self> {
        let file = file_of(store);
        match fs::read_to_string(&file).map(|text| Text::parse(&text)) {
            Ok(Some(text)) => Ok(Self::new(store, text)),
            Ok(None) => {
                tracing::warn!(path = %file.display(), "cannot be understood: starting anew");
                Ok(Self::fresh(store))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::fresh(store)),
            Err(error) => Err(Error::io("read", &file, error)),
        }
    }

    fn new(store: &LocalStore, text: Text) -> Self {
        let file = file_of(store);
        let saved = Instant::now();
        Self { file, text, saved }
    }

    /// Whether a path was looked at by then, and found in order.
    pub(super) fn covers(&self, info: &ValidPathInfo) -> bool {
        self.text
            .after
            .as_ref()
            .is_some_and(|after| info.path <= *after)
            && info.registration_time < self.text.started
            && !self.text.bad.contains(&info.path)
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

impl Text {
    fn print(&self) -> String {
        let mut text = format!("{HEAD}\nstarted {}\n", self.started);
        if let Some(after) = &self.after {
            text.push_str(&format!("after {after}\n"));
        }
        for bad in &self.bad {
            text.push_str(&format!("bad {bad}\n"));
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        (lines.next()? == HEAD).then_some(())?;
        let mut parsed = Self {
            started: lines.next()?.strip_prefix("started ")?.parse().ok()?,
            ..Self::default()
        };
        for line in lines {
            let (word, path) = line.split_once(' ')?;
            let path = StorePath::from_base_name(path).ok()?;
            match word {
                "after" => parsed.after = Some(path),
                "bad" => drop(parsed.bad.insert(path)),
                _ => return None,
            }
        }
        Some(parsed)
    }
}

const HEAD: &str = "nix-serve scrub 1";
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
            started: 17,
            after: Some(path("x")),
            bad: [path("b"), path("c")].into(),
        };
        assert_eq!(Text::parse(&text.print()), Some(text));
        let empty = Text::default();
        assert_eq!(Text::parse(&empty.print()), Some(empty));
    }

    #[test]
    fn a_cut_or_foreign_text_counts_for_nothing() {
        let whole = "nix-serve scrub 1\nstarted 5\nafter aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x\n";
        assert!(Text::parse(whole).is_some());
        for end in 0..whole.len() - 1 {
            let cut = &whole[..end];
            // A text that ends with a line is a whole one.
            if !cut.ends_with("5\n") && cut != &whole[..whole.len()] {
                assert_eq!(Text::parse(cut), None, "{cut:?}");
            }
        }
        assert_eq!(Text::parse("nix-serve scrub 2\nstarted 5\n"), None);
        assert_eq!(
            Text::parse("nix-serve scrub 1\nstarted 5\nafter ../x\n"),
            None
        );
    }
}
