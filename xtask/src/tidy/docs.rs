//! What a library owes its readers: a README that is its documentation, and a sentence for each
//! public item.

use super::{Finding, TextFile, Tree};

/// Most lines of the README of a crate.
const README_LINES: usize = 40;

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in &tree.files {
        if let Some(dir) = library_dir(&file.path) {
            check_library(file, findings);
            match tree.find(format!("{dir}/README.md")) {
                Some(readme) => check_readme(readme, findings),
                None => findings.push(Finding::new(dir, "has no README.md")),
            }
        }
    }
}

/// The directory of the crate whose root this file is.
fn library_dir(path: &str) -> Option<&str> {
    let dir = path.strip_suffix("/src/lib.rs")?;
    dir.starts_with("crates/").then_some(dir)
}

fn check_library(file: &TextFile, findings: &mut Vec<Finding>) {
    let has = |start: &str, word: &str| {
        let mut lines = file.text.lines();
        lines.any(|line| line.starts_with(start) && line.contains(word))
    };
    if !has("#![doc", "include_str!(\"../README.md\")") {
        findings.push(Finding::new(
            &file.path,
            "has not its README as documentation",
        ));
    }
    if !has("#![deny(", "missing_docs") {
        findings.push(Finding::new(
            &file.path,
            "does not deny missing documentation",
        ));
    }
}

fn check_readme(readme: &TextFile, findings: &mut Vec<Finding>) {
    let lines = readme.text.lines().count();
    if lines > README_LINES {
        findings.push(Finding::new(
            &readme.path,
            format!("has {lines} lines, more than {README_LINES}"),
        ));
    }
    if !readme.text.contains("\n```") {
        findings.push(Finding::new(&readme.path, "has no example"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let files = files
            .iter()
            .map(|(path, text)| TextFile {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        let mut findings = Vec::new();
        check(&Tree { files }, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    const LIB: &str = "#![doc = include_str!(\"../README.md\")]\n#![deny(missing_docs)]\n";

    #[test]
    fn a_documented_library_passes() {
        let readme = "# a\n\n```\nlet x = 1;\n```\n";
        let files = [("crates/a/src/lib.rs", LIB), ("crates/a/README.md", readme)];
        assert_eq!(findings(&files), [""; 0]);
    }

    #[test]
    fn a_library_without_documentation_is_found() {
        assert_eq!(
            findings(&[("crates/a/src/lib.rs", "")]),
            [
                "crates/a/src/lib.rs: has not its README as documentation",
                "crates/a/src/lib.rs: does not deny missing documentation",
                "crates/a: has no README.md",
            ]
        );
    }

    #[test]
    fn a_long_readme_is_found() {
        let readme = format!("```\n{}\n```\n", "x\n".repeat(40));
        let files = [
            ("crates/a/src/lib.rs", LIB),
            ("crates/a/README.md", &readme),
        ];
        assert_eq!(
            findings(&files),
            ["crates/a/README.md: has 43 lines, more than 40"]
        );
    }
}
