//! The list of differences that are meant to be, or can't be helped.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::compare::Difference;
use crate::glob;

/// What of a run is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Exit,
    Stdout,
    Stderr,
    State,
}

/// A difference with its reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Patterns of the names of cases.
    pub(crate) cases: Vec<String>,
    /// Labels of the releases that differ from this program.
    pub(crate) releases: Vec<String>,
    pub(crate) parts: Vec<Part>,
    /// A pattern of lines that only real Nix has. With neither this nor the next one, all lines
    /// are explained.
    pub(crate) theirs: Option<String>,
    /// A pattern of lines that only this program has.
    pub(crate) ours: Option<String>,
    pub(crate) why: String,
}

/// All entries, and which of them were of use.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) entries: Vec<Entry>,
    used: RefCell<BTreeSet<(usize, String, String)>>,
}

#[derive(Deserialize)]
struct File {
    entry: Vec<Entry>,
}

impl Explained {
    /// The list of the repository.
    pub(crate) fn read() -> Self {
        let file: File = toml::from_str(include_str!("explained.toml")).unwrap();
        Self {
            entries: file.entry,
            used: RefCell::default(),
        }
    }

    /// Whether each line of a difference is explained by an entry.
    pub(crate) fn explains(
        &self,
        case: &str,
        release: &str,
        part: Part,
        difference: &Difference,
    ) -> bool {
        let mut theirs: Vec<&str> = difference.theirs.lines().collect();
        let mut ours: Vec<&str> = difference.ours.lines().collect();
        for (index, entry) in self.entries.iter().enumerate() {
            let Some(pattern) = entry.pattern_for(case) else {
                continue;
            };
            if !entry.parts.contains(&part) || !entry.releases.iter().any(|one| one == release) {
                continue;
            }
            let before = theirs.len() + ours.len();
            let (their_pattern, our_pattern) = entry.line_patterns();
            theirs.retain(|line| !their_pattern.is_some_and(|it| glob::matches(it, line)));
            ours.retain(|line| !our_pattern.is_some_and(|it| glob::matches(it, line)));
            if theirs.len() + ours.len() < before {
                let mut used = self.used.borrow_mut();
                used.insert((index, pattern.to_owned(), release.to_owned()));
            }
        }
        theirs.is_empty() && ours.is_empty()
    }

    /// The entries, with their patterns and releases, that explained nothing in a run by
    /// these releases.
    pub(crate) fn unused(&self, releases: &[String]) -> Vec<String> {
        let used = self.used.borrow();
        let mut unused = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let here = |release: &&String| releases.contains(release);
            let is_used = |pattern: Option<&String>, release: Option<&String>| {
                used.iter().any(|(i, p, r)| {
                    *i == index
                        && pattern.is_none_or(|pattern| pattern == p)
                        && release.is_none_or(|release| release == r)
                })
            };
            let all_here = entry.releases.iter().all(|release| here(&release));
            for pattern in entry.cases.iter().filter(|_| all_here) {
                if !is_used(Some(pattern), None) {
                    unused.push(format!("'{pattern}': {}", entry.why));
                }
            }
            for release in entry.releases.iter().filter(here) {
                if !is_used(None, Some(release)) {
                    let cases = &entry.cases;
                    unused.push(format!("{cases:?} with {release}: {}", entry.why));
                }
            }
        }
        unused
    }
}

impl Entry {
    /// The pattern that a case matches.
    fn pattern_for(&self, case: &str) -> Option<&str> {
        self.cases
            .iter()
            .map(String::as_str)
            .find(|pattern| glob::matches(pattern, case))
    }

    fn line_patterns(&self) -> (Option<&str>, Option<&str>) {
        match (self.theirs.as_deref(), self.ours.as_deref()) {
            (None, None) => (Some("*"), Some("*")),
            patterns => patterns,
        }
    }
}
