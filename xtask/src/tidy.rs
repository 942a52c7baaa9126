//! `cargo xtask tidy`: the house rules as a program, so that a review need not name them.
//!
//! [`arrows`] looks at what `cargo metadata` says of the crates, [`files`] at each file by
//! itself, [`docs`] at what a library owes its readers.

mod arrows;
mod docs;
mod files;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::{env, process};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.no_values()?;
    check(&env::workspace_root())
}

/// Checks the tree at `root`; prints each finding and fails if there is one.
pub(crate) fn check(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut findings = Vec::new();
    arrows::check(root, &mut findings)?;
    for file in &tree.files {
        files::check(file, &mut findings);
    }
    docs::check(&tree, &mut findings);
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to say", tree.files.len());
            Ok(())
        }
        1 => bail!("tidy: one finding"),
        n => bail!("tidy: {n} findings"),
    }
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// File with line, or the name of a crate.
    place: String,
    what: String,
}

impl Finding {
    fn new(place: impl fmt::Display, what: impl Into<String>) -> Self {
        Self {
            place: place.to_string(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// The text files of the tree, those that git tracks or would.
struct Tree {
    files: Vec<TextFile>,
}

/// One of them.
struct TextFile {
    /// Relative to the root.
    path: String,
    text: String,
}

impl Tree {
    fn read(root: &Path) -> Result<Self> {
        let list = process::capture(
            Command::new("git")
                .args(["-c", "core.quotePath=false", "ls-files"])
                .args(["--cached", "--others", "--exclude-standard"])
                .current_dir(root),
        )
        .context("tidy asks git which files count")?;
        let mut files = Vec::new();
        for path in list.lines() {
            // A file may be deleted and not yet committed; one that is not text has no rules.
            let Ok(bytes) = std::fs::read(root.join(path)) else {
                continue;
            };
            if let Ok(text) = String::from_utf8(bytes) {
                let path = path.to_owned();
                files.push(TextFile { path, text });
            }
        }
        Ok(Self { files })
    }

    fn find(&self, path: impl Into<PathBuf>) -> Option<&TextFile> {
        let path = path.into();
        self.files.iter().find(|file| Path::new(&file.path) == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_rules_hold_for_this_crate() {
        let tree = Tree::read(&env::workspace_root()).unwrap();
        let mut findings = Vec::new();
        for file in &tree.files {
            if file.path.starts_with("xtask/") {
                files::check(file, &mut findings);
            }
        }
        assert_eq!(findings, []);
    }
}
