//! JSON forms: read and printed again.

use nix_base::json::path_info::{
    PathInfoFormat, StoreFacts, content_address_from_json, content_address_to_json,
    path_info_from_json, path_info_to_json, signature_to_json, signatures_from_json,
};
use nix_base::json::realisation::{
    realisation_from_json, realisation_to_json, unkeyed_realisation_from_json,
    unkeyed_realisation_to_json,
};
use nix_base::{BuildStatus, Hash, HashFormat, StoreDir, StorePath};
use serde_json::{Value, json};
use test_support::vectors::{Vector, report, with_format};

fn parsed(vector: &Vector) -> Value {
    serde_json::from_slice(&vector.read()).unwrap()
}

#[test]
fn path_infos_of_all_formats() {
    let dir = StoreDir::default();
    let vectors = with_format("json:path-info/*");
    for vector in &vectors {
        let mut expected = parsed(vector);
        let info = path_info_from_json(&dir, &expected).unwrap();
        let format = match expected["version"].as_u64() {
            None | Some(1) => PathInfoFormat::V1,
            Some(2) => PathInfoFormat::V2,
            Some(3) => PathInfoFormat::V3,
            other => panic!("{}: {other:?}", vector.file),
        };
        let facts = match expected.get("deriver") {
            Some(_) => StoreFacts::Impure,
            None => StoreFacts::Pure,
        };
        if expected.get("version").is_none() {
            // The oldest form lacks these two.
            expected["version"] = 1.into();
            expected["storeDir"] = dir.as_str().into();
        }
        let printed = path_info_to_json(&dir, &info, format, facts);
        assert_eq!(printed, expected, "{}", vector.file);
    }
    report("path-info", vectors.len());
}

#[test]
fn path_infos_inside_nar_infos() {
    let dir = StoreDir::default();
    let vectors = with_format("json:nar-info/*");
    for vector in &vectors {
        let expected = parsed(vector);
        let info = path_info_from_json(&dir, &expected).unwrap();
        let format = match expected["version"].as_u64() {
            Some(3) => PathInfoFormat::V3,
            _ => PathInfoFormat::V2,
        };
        let printed = path_info_to_json(&dir, &info, format, StoreFacts::Impure);
        for (field, value) in printed.as_object().unwrap() {
            assert_eq!(value, &expected[field], "{}: {field}", vector.file);
        }
    }
    report("nar-info", vectors.len());
}

#[test]
fn hashes_as_sri() {
    let vectors = with_format("json:hash");
    for vector in &vectors {
        let json = parsed(vector);
        let text = json.as_str().unwrap();
        let hash = Hash::parse_any(text, None).unwrap();
        assert_eq!(hash.render(HashFormat::Sri), text);
        for format in [HashFormat::Base16, HashFormat::Nix32, HashFormat::Base64] {
            let text = hash.render_prefixed(format);
            assert_eq!(Hash::parse_any(&text, None).unwrap(), hash, "{text}");
        }
    }
    report("hash", vectors.len());
}

#[test]
fn store_paths_as_base_names() {
    let vectors = with_format("json:store-path");
    for vector in &vectors {
        let json = parsed(vector);
        let path = StorePath::from_base_name(json.as_str().unwrap()).unwrap();
        assert_eq!(json!(path.base_name()), json);
        let dir = StoreDir::default();
        assert_eq!(dir.parse(dir.print(&path)).unwrap(), path);
    }
    report("store-path", vectors.len());
}

#[test]
fn content_addresses_with_method_and_hash() {
    let vectors = with_format("json:content-address");
    for vector in &vectors {
        let json = parsed(vector);
        let ca = content_address_from_json(&json).unwrap();
        assert_eq!(content_address_to_json(&ca), json);
        assert_eq!(ca.to_string().parse(), Ok(ca));
    }
    report("content-address", vectors.len());
}

#[test]
fn realisations_of_both_kinds() {
    let vectors = with_format("json:realisation");
    for vector in &vectors {
        let json = parsed(vector);
        if json.get("id").is_some() {
            let realisation = realisation_from_json(&json).unwrap();
            assert_eq!(realisation_to_json(&realisation), json, "{}", vector.file);
        } else if json.get("sig").is_some() {
            let sigs = signatures_from_json(&json!([json])).unwrap();
            let sig = sigs.first().unwrap();
            assert!(sig.is_well_formed());
            assert_eq!(signature_to_json(sig), json, "{}", vector.file);
        } else {
            check_unkeyed(vector, json.get("value").unwrap_or(&json));
        }
    }
    report("realisation", vectors.len());
}

fn check_unkeyed(vector: &Vector, json: &Value) {
    let realisation = unkeyed_realisation_from_json(json).unwrap();
    let printed = unkeyed_realisation_to_json(&realisation);
    let mut expected = json.clone();
    for signature in expected["signatures"].as_array_mut().unwrap() {
        // The older spelling is read, and printed as the newer one.
        if let Some((name, sig)) = signature.as_str().and_then(|text| text.split_once(':')) {
            *signature = json!({ "keyName": name, "sig": sig });
        }
    }
    assert_eq!(printed, expected, "{}", vector.file);
}

#[test]
fn build_results_have_statuses_that_we_know() {
    let vectors = with_format("json:build-result");
    for vector in &vectors {
        let json = parsed(vector);
        let status = BuildStatus::from_name(json["status"].as_str().unwrap()).unwrap();
        assert_eq!(json["success"], Value::Bool(status.is_success()));
        for output in json["builtOutputs"].as_object().into_iter().flatten() {
            check_unkeyed(vector, output.1);
        }
    }
    report("build-result", vectors.len());
}
