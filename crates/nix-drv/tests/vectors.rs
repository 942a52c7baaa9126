//! The golden vectors of other implementations, read in place.
#![allow(
    clippy::disallowed_methods,
    reason = "tests read the vectors from files"
)]
#![allow(clippy::print_stdout, reason = "the number of cases is shown")]

use std::path::{Path, PathBuf};

use nix_base::{StoreDir, StorePath, StorePathName};
use nix_drv::{Derivation, Strictness};
use serde_json::Value;

/// Where the vectors are, if they are there.
fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    if root.join("index.json").is_file() {
        return Some(root);
    }
    println!("skipped: no vectors at {}", root.display());
    None
}

/// The entries of the index with this format.
fn entries(root: &Path, format: &str) -> Vec<Value> {
    let index: Value =
        serde_json::from_slice(&std::fs::read(root.join("index.json")).unwrap()).unwrap();
    let all = index.as_array().unwrap().iter();
    all.filter(|entry| entry["format"] == format)
        .cloned()
        .collect()
}

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The derivation's name: as its JSON says, or as the file is called.
fn name_of(root: &Path, file: &str) -> StorePathName {
    let stem = Path::new(file).file_stem().unwrap().to_str().unwrap();
    let json = read_json(&root.join(file).with_extension("json"));
    if let Some(name) = json.as_ref().and_then(|json| json["name"].as_str()) {
        return name.parse().unwrap();
    }
    match StorePath::from_base_name(stem) {
        Ok(path) => path.name().clone(),
        Err(_) => stem.parse().unwrap(),
    }
}

#[test]
fn derivation_files_are_read_and_printed() {
    let Some(root) = vectors() else { return };
    let store = StoreDir::default();
    let mut cases = 0;
    for entry in entries(&root, "drv-aterm") {
        let file = entry["file"].as_str().unwrap();
        let text = std::fs::read(root.join(file)).unwrap();
        let name = name_of(&root, file);
        let lenient = Derivation::parse(&text, &store, &name, Strictness::Lenient);
        let strict = Derivation::parse(&text, &store, &name, Strictness::Strict);
        cases += 1;
        match entry["expect"].as_str().unwrap() {
            "accept" => {
                let drv = lenient.unwrap_or_else(|e| panic!("{file}: {e:?}"));
                let printed = drv.to_aterm(&store).unwrap();
                let again = Derivation::parse(&printed, &store, &name, Strictness::Strict).unwrap();
                assert_eq!(again, drv, "{file}");
                assert_eq!(strict.is_ok(), printed == text, "{file}: {strict:?}");
                if entry["properties"]["reprint_identical"] == true {
                    assert_eq!(printed, text, "{file}");
                }
                if let Some(path) = entry["properties"]["store_path"].as_str() {
                    let computed = drv.store_path(&store).unwrap();
                    assert_eq!(store.print(&computed), path, "{file}");
                }
            }
            "reject" => {
                lenient.expect_err(file);
                strict.expect_err(file);
            }
            // Taken as a text, but no client may send it.
            "either" => drop(strict.expect_err(file)),
            other => panic!("{file}: what is '{other}'?"),
        }
    }
    println!("{cases} derivation files");
    assert!(cases >= 34, "only {cases} cases");
}

#[test]
fn modulo_texts_are_no_derivations() {
    let Some(root) = vectors() else { return };
    let store = StoreDir::default();
    for entry in entries(&root, "drv-aterm-modulo") {
        let file = entry["file"].as_str().unwrap();
        let text = std::fs::read(root.join(file)).unwrap();
        let name = "x".parse().unwrap();
        let error = Derivation::parse(&text, &store, &name, Strictness::Lenient).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("bad path '"), "{file}: {cause}");
    }
}
