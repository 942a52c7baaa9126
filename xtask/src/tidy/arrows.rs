//! Which crate may use which: the table of permitted arrows, compared with `cargo metadata`.
//!
//! Arrows go down only. A new one is a line here, in a commit of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;
use crate::{env, process};

/// What a crate of the workspace may use of it.
const ARROWS: &[(&str, &[&str])] = &[
    ("nix-base", &[]),
    ("nix-nar", &["nix-base"]),
    ("nix-drv", &["nix-base"]),
    ("nix-store-core", &["nix-base", "nix-nar", "nix-drv"]),
    (
        "nix-build",
        &["nix-base", "nix-nar", "nix-drv", "nix-store-core"],
    ),
    (
        "nix-cache",
        &["nix-base", "nix-nar", "nix-drv", "nix-store-core"],
    ),
    (
        "nix-serve",
        &[
            "nix-base",
            "nix-nar",
            "nix-drv",
            "nix-store-core",
            "nix-build",
            "nix-cache",
        ],
    ),
    // A mistake in the product must not agree with itself.
    ("test-support", &[]),
    // It says what the others do, and uses nothing of them.
    ("store-model", &[]),
    // It checks and measures the others from outside, and works while they do not build.
    ("xtask", &[]),
];

/// Crates of the workspace that only tests may use, and who may.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    ("nix-nar", &["test-support"]),
    ("nix-drv", &["test-support"]),
    ("nix-store-core", &["test-support"]),
    ("nix-build", &["test-support"]),
    ("nix-cache", &["test-support"]),
    ("nix-serve", &["test-support"]),
];

/// Crates from elsewhere that belong to one part of the workspace.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("anyhow", &["nix-serve", "test-support", "xtask"]),
    ("axum", &["nix-cache"]),
    ("clap", &["nix-serve"]),
    ("clap_complete", &["nix-serve"]),
    ("clap_mangen", &["nix-serve"]),
    ("flate2", &["nix-build", "nix-cache"]),
    ("fs2", &["nix-store-core"]),
    ("hyper", &["nix-cache"]),
    ("indicatif", &["nix-serve"]),
    ("landlock", &["nix-build"]),
    ("lexopt", &["nix-serve", "xtask"]),
    ("liblzma", &["nix-build", "nix-cache"]),
    ("memmap2", &["nix-nar"]),
    ("nix", &["nix-build", "nix-serve", "test-support", "xtask"]),
    ("nom", &["nix-drv"]),
    ("object_store", &["nix-cache"]),
    ("postcard", &["nix-build"]),
    ("rusqlite", &["nix-store-core"]),
    ("seccompiler", &["nix-build"]),
    ("stateright", &["store-model"]),
    ("syscalls", &["nix-build"]),
    ("tar", &["nix-build"]),
    ("tokio", &["nix-cache"]),
    ("tracing-subscriber", &["nix-serve"]),
];

pub(super) fn check(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let text = process::capture(
        Command::new(env::cargo())
            .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
            .current_dir(root),
    )?;
    let metadata = serde_json::from_str(&text).context("cargo metadata")?;
    check_metadata(&metadata, findings).context("cargo metadata has an unknown form")
}

fn check_metadata(metadata: &Value, findings: &mut Vec<Finding>) -> Option<()> {
    let packages = metadata["packages"].as_array()?;
    let mut ours = BTreeSet::new();
    for package in packages {
        ours.insert(package["name"].as_str()?);
    }
    for package in packages {
        let name = package["name"].as_str()?;
        let Some(down) = permitted(ARROWS, name) else {
            findings.push(Finding::new(name, "is not in tidy's table of crates"));
            continue;
        };
        for dependency in package["dependencies"].as_array()? {
            let used = dependency["name"].as_str()?;
            // `kind` is null for what the crate itself uses.
            let is_test = dependency["kind"].as_str() == Some("dev");
            if ours.contains(used) {
                let in_tests =
                    is_test && permitted(TEST_ARROWS, name).is_some_and(|up| up.contains(&used));
                if !down.contains(&used) && !in_tests {
                    findings.push(Finding::new(name, format!("may not use '{used}'")));
                }
            } else if !is_test
                && let Some(users) = permitted(OUTSIDE, used)
                && !users.contains(&name)
            {
                findings.push(Finding::new(
                    name,
                    format!("may not use '{used}': it belongs to {}", users.join(", ")),
                ));
            }
        }
    }
    Some(())
}

fn permitted<'a>(table: &'a [(&str, &[&'a str])], name: &str) -> Option<&'a [&'a str]> {
    let (_, list) = table.iter().find(|(entry, _)| *entry == name)?;
    Some(list)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(metadata: &Value) -> Vec<String> {
        let mut findings = Vec::new();
        check_metadata(metadata, &mut findings).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(name, kind)| json!({ "name": name, "kind": kind }))
            .collect();
        json!({ "name": name, "dependencies": dependencies })
    }

    #[test]
    fn arrows_down_are_permitted() {
        let metadata = json!({ "packages": [
            package("nix-base", &[("sha2", None)]),
            package("nix-nar", &[("nix-base", None), ("nix-base", Some("dev"))]),
            package("test-support", &[("sha2", None)]),
            package("nix-serve", &[("nix-nar", None), ("test-support", Some("dev"))]),
        ] });
        assert_eq!(findings(&metadata), [""; 0]);
    }

    #[test]
    fn an_arrow_up_or_sideways_is_found() {
        let metadata = json!({ "packages": [
            package("nix-base", &[("nix-nar", Some("dev"))]),
            package("nix-nar", &[("nix-drv", None)]),
            package("nix-drv", &[]),
        ] });
        assert_eq!(
            findings(&metadata),
            [
                "nix-base: may not use 'nix-nar'",
                "nix-nar: may not use 'nix-drv'"
            ]
        );
    }

    #[test]
    fn the_test_harness_is_for_tests_only() {
        let metadata = json!({ "packages": [
            package("test-support", &[]),
            package("nix-serve", &[("test-support", None)]),
        ] });
        assert_eq!(
            findings(&metadata),
            ["nix-serve: may not use 'test-support'"]
        );
    }

    #[test]
    fn the_test_harness_uses_nothing_of_the_product() {
        let metadata = json!({ "packages": [
            package("nix-base", &[]),
            package("test-support", &[("nix-base", None)]),
        ] });
        assert_eq!(
            findings(&metadata),
            ["test-support: may not use 'nix-base'"]
        );
    }

    #[test]
    fn a_crate_from_elsewhere_stays_where_it_belongs() {
        let metadata = json!({ "packages": [
            package("xtask", &[("rusqlite", None), ("anyhow", None)]),
        ] });
        assert_eq!(
            findings(&metadata),
            ["xtask: may not use 'rusqlite': it belongs to nix-store-core"]
        );
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_found() {
        let metadata = json!({ "packages": [package("nix-utils", &[])] });
        assert_eq!(
            findings(&metadata),
            ["nix-utils: is not in tidy's table of crates"]
        );
    }
}
