//! The golden vectors of other implementations, read in place.
#![allow(
    clippy::disallowed_methods,
    reason = "tests read the vectors from files"
)]
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::print_stdout, reason = "the number of cases is shown")]

use std::collections::HashMap;
use std::path::Path;

use nix_base::{OutputName, StoreDir, StorePath, StorePathName};
use nix_drv::aterm::Masked;
use nix_drv::json::{self, JsonForm};
use nix_drv::options::options_to_json;
use nix_drv::{Derivation, Error, HashMemo, Strictness, check_derivation};
use serde_json::Value;
use test_support::vectors;

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

/// Each byte as the character of that number: makes text of any bytes.
fn latin1(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .map(|byte| char::from(*byte))
        .collect::<String>()
        .into_bytes()
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
    let Some(root) = vectors::root() else { return };
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
    vectors::report("derivation", cases);
    assert!(cases >= 34, "only {cases} cases");
}

#[test]
fn modulo_texts_are_no_derivations() {
    let Some(root) = vectors::root() else { return };
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

#[test]
fn derivation_files_mean_what_their_json_says() {
    let Some(root) = vectors::root() else { return };
    let store = StoreDir::default();
    let mut cases = 0;
    for entry in entries(&root, "drv-aterm") {
        let file = entry["file"].as_str().unwrap();
        let Some(json) = entry["properties"]["json"].as_str() else {
            continue;
        };
        let mut text = std::fs::read(root.join(file)).unwrap();
        let mut json = std::fs::read(root.join(json)).unwrap();
        if std::str::from_utf8(&text).is_err() {
            (text, json) = (latin1(&text), latin1(&json));
        }
        let json: Value = serde_json::from_slice(&json).unwrap();
        let name = name_of(&root, file);
        let drv = Derivation::parse(&text, &store, &name, Strictness::Strict).unwrap();
        cases += 1;
        if json["version"] == 4 {
            assert_eq!(
                json::derivation_from_json(&json, &store, None).unwrap(),
                drv,
                "{file}"
            );
            assert_eq!(
                json::derivation_to_json(&drv, &store, JsonForm::V4).unwrap(),
                json,
                "{file}"
            );
            continue;
        }
        let read = json::parse_shown(&json, &store).unwrap();
        let [(path, read)] = &read[..] else {
            panic!("{file}: not one derivation")
        };
        assert_eq!(read, &drv, "{file}");
        assert_eq!(
            json::show([(path, &drv)], &store, JsonForm::Early).unwrap(),
            json,
            "{file}"
        );
    }
    vectors::report("derivation-json", cases);
    assert!(cases >= 22, "only {cases} cases");
}

#[test]
fn outputs_of_each_kind() {
    let Some(root) = vectors::root() else { return };
    let store = StoreDir::default();
    let name: StorePathName = "drv-name".parse().unwrap();
    let output: OutputName = "output-name".parse().unwrap();
    let mut cases = 0;
    for (dir, form) in [("nix", JsonForm::V4), ("lix", JsonForm::Early)] {
        for file in std::fs::read_dir(root.join(dir).join("derivation")).unwrap() {
            let path = file.unwrap().path();
            if !path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("output-")
            {
                continue;
            }
            let json = read_json(&path).unwrap();
            let read = json::output_from_json(&json, &store, &name, &output).unwrap();
            let written = json::output_to_json(&read, &store, &name, &output, form).unwrap();
            assert_eq!(written, json, "{}", path.display());
            cases += 1;
        }
    }
    vectors::report("derivation-output", cases);
    assert_eq!(cases, 6);
}

#[test]
fn derivations_alike_but_for_fixed_outputs_have_one_hash() {
    let Some(root) = vectors::root() else { return };
    let store = StoreDir::default();
    let dir = root.join("nix/derivation/hash-modulo");
    let mut files = HashMap::new();
    let mut paths = HashMap::new();
    for case in [
        "source-first",
        "source-second",
        "intermediate-first",
        "intermediate-second",
        "parent-joined",
        "parent-split",
    ] {
        let text = std::fs::read(dir.join(case).with_extension("drv")).unwrap();
        let name = name_of(&root, &format!("nix/derivation/hash-modulo/{case}.drv"));
        let drv = Derivation::parse(&text, &store, &name, Strictness::Strict).unwrap();
        let path = drv.store_path(&store).unwrap();
        files.insert(path.clone(), text);
        paths.insert(case, (path, drv));
    }
    let mut memo = HashMemo::new();
    let read = |path: &StorePath| files.get(path).cloned().ok_or("no such file");
    memo.load(files.keys().cloned(), &store, read).unwrap();
    let mut cases = 0;
    for (case, (_, drv)) in &paths {
        let Ok(expected) = std::fs::read(dir.join(format!("{case}-modulo.drv"))) else {
            continue;
        };
        assert_eq!(
            drv.modulo_text(&store, &memo, Masked::Yes).unwrap(),
            expected,
            "{case}"
        );
        cases += 1;
    }
    vectors::report("hash-modulo", cases);
    assert_eq!(cases, 4);
    for pair in [
        ["source-first", "source-second"],
        ["intermediate-first", "intermediate-second"],
        ["parent-joined", "parent-split"],
    ] {
        let [one, two] = pair.map(|case| memo.find(&paths[case].0).unwrap());
        assert_eq!(one, two);
    }
}

#[test]
fn derivations_are_resolved_by_their_build_trace() {
    let Some(root) = vectors::root() else { return };
    let store = StoreDir::default();
    let dir = root.join("nix/derivation/try-resolve");
    let json = |name: String| read_json(&dir.join(name));
    for (case, after) in [
        ("no-inputs", Some("after")),
        ("export-ref-subpath", Some("resolved")),
        ("export-ref-subpath-sa", Some("resolved")),
        ("resolution-failure", None),
    ] {
        let before = json(format!("{case}-before.json")).unwrap();
        let before = json::derivation_from_json(&before, &store, None).unwrap();
        let trace = json(format!("{case}-buildTrace.json")).unwrap();
        let find = |drv: &StorePath, output: &OutputName| {
            let mut trace = trace.as_array().unwrap().iter();
            let found = trace.find(|entry| {
                entry[0]["drvPath"] == *drv.base_name() && entry[0]["output"] == *output.as_str()
            });
            Ok::<_, Error>(found.map(|entry| entry[1].as_str().unwrap().parse().unwrap()))
        };
        let resolved = before.resolve(&store, find);
        let Some(after) = after else {
            assert!(resolved.unwrap_err().is_not_realised());
            continue;
        };
        let resolved = resolved.unwrap();
        let expected = json(format!("{case}-{after}.json")).unwrap();
        assert_eq!(
            resolved,
            json::basic_from_json(&expected, &store).unwrap(),
            "{case}"
        );
        let options = json(format!("{case}-before-options.json"));
        if let Some(expected) = options {
            let options = before.options(&store).unwrap();
            assert_eq!(options_to_json(&options), expected, "{case} before");
            let expected = json(format!("{case}-resolved-options.json")).unwrap();
            let options = resolved.options(&store).unwrap();
            assert_eq!(options_to_json(&options), expected, "{case} resolved");
        }
    }
}

#[test]
fn invariants_hold_or_are_filled_in() {
    let Some(root) = vectors::root() else { return };
    let store = StoreDir::default();
    let dir = root.join("nix/derivation/invariants");
    let load = |case: &str| {
        let json = read_json(&dir.join(case).with_extension("json")).unwrap();
        json::derivation_from_json(&json, &store, None).unwrap()
    };
    // What the derivations here depend on: a floating one.
    let dependency = root.join("nix/derivation/invariants/../ca/self-contained.json");
    let dependency = read_json(&dependency).unwrap();
    let dependency = json::derivation_from_json(&dependency, &store, None).unwrap();
    let read = |_: &StorePath| dependency.to_aterm(&store);
    let check = |drv: &Derivation| {
        let path = drv.store_path(&store).unwrap();
        check_derivation(drv, &path, &store, &mut HashMemo::new(), read)
    };
    let mut memo = HashMemo::new();
    let filled = |mut drv: Derivation, memo: &mut HashMemo| {
        memo.load(drv.input_drvs.keys().cloned(), &store, read)
            .unwrap();
        drv.fill_in_outputs(&store, memo).unwrap();
        drv
    };
    let bad = check(&load("bad-path")).unwrap_err();
    assert!(matches!(bad, Error::IncorrectOutput { .. }), "{bad}");
    for case in [
        "filled-in-deferred-empty-env-var",
        "filled-in-deferred-no-env-var",
    ] {
        let pre = load(&format!("{case}-pre"));
        let post = load(&format!("{case}-post"));
        let has_variable = pre.env.contains_key(&b"out"[..]);
        assert_eq!(filled(pre, &mut memo), post, "{case}");
        // A variable that is new changes the hash, so the path no longer fits.
        assert_eq!(check(&post).is_ok(), has_variable, "{case}");
    }
    for case in ["filled-in-idempotent", "depends-on-drv-pre"] {
        let drv = load(case);
        assert_eq!(filled(drv.clone(), &mut memo), drv, "{case}");
        check(&drv).unwrap();
    }
}

#[test]
fn options_are_those_that_the_attributes_say() {
    let Some(root) = vectors::root() else { return };
    let store = StoreDir::default();
    let attributes = "derivation/ia/advanced-attributes-structured-attrs";
    for (file, expected) in [
        (
            "go-nix/derivation/ss2p4wmxijn652haqyd7dckxwl4c7hxx-bar".to_owned(),
            "ia/derivation-options/defaults",
        ),
        (
            format!("nix/{attributes}"),
            "ia/derivation-options/structuredAttrs_all_set",
        ),
        (
            format!("nix/{attributes}-defaults"),
            "ia/derivation-options/structuredAttrs_defaults",
        ),
        (
            format!("nix/{}", attributes.replace("/ia/", "/ca/")),
            "ca/derivation-options/structuredAttrs_all_set",
        ),
    ] {
        let file = format!("{file}.drv");
        let text = std::fs::read(root.join(&file)).unwrap();
        let name = name_of(&root, &file);
        let drv = Derivation::parse(&text, &store, &name, Strictness::Strict).unwrap();
        let expected = read_json(&root.join(format!("nix/derivation/{expected}.json"))).unwrap();
        assert_eq!(
            options_to_json(&drv.options(&store).unwrap()),
            expected,
            "{file}"
        );
    }
}
