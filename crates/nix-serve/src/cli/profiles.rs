//! Profiles and their generations.
//!
//! ```text
//! profiles/NAME         -> NAME-7-link     the current generation
//! profiles/NAME-6-link  -> /nix/store/…    an older one
//! profiles/NAME-7-link  -> /nix/store/…
//! ```

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix_store_core::lock::{LockDir, Wait};

/// One generation of a profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation {
    /// Its number.
    pub(crate) number: u64,
    /// When it was made, in seconds since 1970.
    pub(crate) created: i64,
    /// Its link.
    pub(crate) link: PathBuf,
}

/// A profile with its generations.
#[derive(Debug)]
pub(crate) struct Profile {
    link: PathBuf,
    /// In ascending order.
    generations: Vec<Generation>,
    current: Option<u64>,
}

impl Profile {
    /// Looks at the profile whose link is `link`.
    ///
    /// # Errors
    /// Its directory can't be read.
    pub(crate) fn open(link: &Path) -> anyhow::Result<Self> {
        let explain = || {
            format!(
                "cannot read the generations of profile '{}'",
                link.display()
            )
        };
        let name = link.file_name().with_context(explain)?.as_bytes();
        let parent = link.parent().with_context(explain)?;
        let mut generations = Vec::new();
        for entry in fs::read_dir(parent).with_context(explain)? {
            let entry = entry.with_context(explain)?;
            let file = entry.file_name();
            if let Some(number) = generation_of(file.as_bytes(), name) {
                let created = entry.metadata().with_context(explain)?.mtime();
                let link = entry.path();
                generations.push(Generation {
                    number,
                    created,
                    link,
                });
            }
        }
        generations.sort_unstable();
        let current = fs::read_link(link).ok().and_then(|target| {
            let target = target.file_name()?.as_bytes();
            generation_of(target, name)
        });
        Ok(Self {
            link: link.to_owned(),
            generations,
            current,
        })
    }

    /// All generations but the current one.
    pub(crate) fn old(&self) -> Vec<&Generation> {
        self.but_current(self.generations.iter())
    }

    /// Generations that weren't current any more at the time `since`, newest first.
    pub(crate) fn older_than(&self, since: i64) -> Vec<&Generation> {
        // Nix compat: the newest of those that are older was the current one at that time.
        let older = self.generations.iter().rev();
        self.but_current(
            older
                .skip_while(|generation| generation.created >= since)
                .skip(1)
                // Times may contradict numbers, after a wrong clock or a restore.
                .filter(|generation| generation.created < since),
        )
    }

    fn but_current<'g>(
        &self,
        generations: impl Iterator<Item = &'g Generation>,
    ) -> Vec<&'g Generation> {
        generations
            .filter(|generation| Some(generation.number) != self.current)
            .collect()
    }

    /// Removes the link of a generation.
    pub(crate) fn remove(&self, generation: &Generation) -> anyhow::Result<()> {
        fs::remove_file(&generation.link).with_context(|| {
            let (number, link) = (generation.number, self.link.display());
            format!("cannot remove version {number} of profile '{link}'")
        })
    }
}

/// Does `work` while nobody else changes the profile at `link`.
pub(crate) fn locked<T>(
    link: &Path,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let explain = || format!("cannot lock profile '{}'", link.display());
    let parent = link.parent().with_context(explain)?;
    let name = link.file_name().with_context(explain)?;
    let name = name.to_str().with_context(explain)?;
    let lock = LockDir::open(parent)
        .and_then(|directory| directory.lock(name, Wait::Forever))
        .with_context(explain)?;
    let done = work();
    if let Some(mut lock) = lock {
        lock.request_removal();
        lock.release().with_context(explain)?;
    }
    done
}

/// The profiles below `directory` that may be changed, in the order of their names.
pub(crate) fn below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut profiles = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        let explain = || format!("cannot read directory '{}'", directory.display());
        let entries = match fs::read_dir(&directory) {
            // Nix compat: nobody changes profiles that they can't see.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                continue;
            }
            entries => entries.with_context(explain)?,
        };
        let may_write = rustix::fs::access(&directory, rustix::fs::Access::WRITE_OK).is_ok();
        for entry in entries {
            let entry = entry.with_context(explain)?;
            let kind = entry.file_type().with_context(explain)?;
            if kind.is_dir() {
                todo.push(entry.path());
            } else if kind.is_symlink() && may_write && leads_to_generation(&entry.path()) {
                profiles.push(entry.path());
            }
        }
    }
    profiles.sort_unstable();
    Ok(profiles)
}

// Nix compat: that is how it tells profiles from links to generations.
fn leads_to_generation(link: &Path) -> bool {
    fs::read_link(link).is_ok_and(|target| {
        let target = target.as_os_str().as_bytes();
        target.windows(4).any(|part| part == b"link")
    })
}

/// The number in `PROFILE-NUMBER-link`.
fn generation_of(file: &[u8], profile: &[u8]) -> Option<u64> {
    let number = file
        .strip_prefix(profile)?
        .strip_prefix(b"-")?
        .strip_suffix(b"-link")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(created: &[i64], current: u64) -> Profile {
        let generations = (1..).zip(created).map(|(number, &created)| Generation {
            number,
            created,
            link: PathBuf::new(),
        });
        Profile {
            link: PathBuf::new(),
            generations: generations.collect(),
            current: Some(current),
        }
    }

    fn numbers(generations: &[&Generation]) -> Vec<u64> {
        generations.iter().map(|g| g.number).collect()
    }

    #[test]
    fn what_was_current_at_the_time_stays() {
        let profile = profile(&[10, 20, 30, 40, 50], 4);
        assert_eq!(numbers(&profile.older_than(35)), [2, 1]);
        assert_eq!(numbers(&profile.older_than(30)), [1]);
        assert_eq!(numbers(&profile.older_than(60)), [3, 2, 1]);
        assert!(profile.older_than(5).is_empty());
        assert_eq!(numbers(&profile.old()), [1, 2, 3, 5]);
    }

    #[test]
    fn what_is_younger_stays_even_below_an_older_number() {
        assert!(profile(&[50, 60, 5, 70], 4).older_than(35).is_empty());
        let profile = profile(&[5, 60, 6, 70], 4);
        assert_eq!(numbers(&profile.older_than(35)), [1]);
    }

    #[test]
    fn generations_are_told_by_their_names() {
        assert_eq!(generation_of(b"system-12-link", b"system"), Some(12));
        for other in [
            "system-link",
            "system--1-link",
            "system-1-links",
            "sys-1-link",
        ] {
            assert_eq!(generation_of(other.as_bytes(), b"system"), None, "{other}");
        }
    }

    #[test]
    fn profiles_are_links_to_generations() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        for (target, link) in [
            ("/nix/store/x", "system-1-link"),
            ("system-1-link", "system"),
            ("other-1-link", "sub/other"),
            ("/nix/store/x", "plain"),
        ] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        assert_eq!(
            below(directory.path()).unwrap(),
            [at("sub/other"), at("system")]
        );
        assert!(below(&at("none")).unwrap().is_empty());
        let profile = Profile::open(&at("system")).unwrap();
        assert!(profile.old().is_empty());
    }
}
