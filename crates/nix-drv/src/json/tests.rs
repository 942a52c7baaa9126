use serde_json::json;

use super::*;
use crate::Strictness;

const FIXED: &str = r#"Derive([("out","/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f","r:sha1","0deb52c2735eb38d360f976b7b3823c4ad05cce7")],[("/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-dep.drv",["dev","out"])],["/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-src"],"s","/bin/sh",["a"],[("__json","{\"b\":1,\"a\":[]}"),("x","y")])"#;
const KINDS: &str = r#"DrvWithVersion("xp-dyn-drv",[("a","/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-a","",""),("b","","",""),("c","","r:sha256",""),("d","","git:sha1","impure")],[("/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-dep.drv",(["out"],[("out",["lib"])]))],[],"s","/b",[],[])"#;

const FORMS: [JsonForm; 4] = [
    JsonForm::Early,
    JsonForm::Unversioned,
    JsonForm::V3,
    JsonForm::V4,
];

fn parse(text: &str) -> Derivation {
    let name = "f".parse().unwrap();
    Derivation::parse(
        text.as_bytes(),
        &StoreDir::default(),
        &name,
        Strictness::Lenient,
    )
    .unwrap()
}

fn path() -> StorePath {
    "00bgd045z0d4icpbc2yyz4gx48ak44la-f.drv".parse().unwrap()
}

#[test]
fn every_form_is_read_as_written() {
    let store = StoreDir::default();
    for text in [FIXED, KINDS] {
        let drv = parse(text);
        for form in FORMS {
            let shown = show([(&path(), &drv)], &store, form).unwrap();
            let mut read = parse_shown(&shown, &store).unwrap();
            let (read_path, mut read) = read.pop().unwrap();
            assert_eq!(read_path, path());
            let mut drv = drv.clone();
            if form == JsonForm::Early {
                // This form has no place for outputs of outputs.
                drv.input_drvs
                    .values_mut()
                    .for_each(|node| node.children.clear());
            }
            if form.has_structured_attrs() && drv.structured_attrs().is_some() {
                let attrs = read.env.insert("__json".into(), r#"{"b":1,"a":[]}"#.into());
                assert_eq!(attrs.unwrap(), r#"{"a":[],"b":1}"#, "sorted");
            }
            assert_eq!(read, drv, "{form:?}");
        }
    }
}

#[test]
fn the_forms_differ_as_the_releases_do() {
    let store = StoreDir::default();
    let drv = parse(FIXED);
    let output = |form| derivation_to_json(&drv, &store, form).unwrap()["outputs"]["out"].clone();
    let computed = &drv.known_outputs(&store).unwrap()[0].1;
    let full = store.print(computed);
    let hash = "0deb52c2735eb38d360f976b7b3823c4ad05cce7";
    assert_eq!(
        output(JsonForm::Early),
        json!({"path": full, "hashAlgo": "r:sha1", "hash": hash})
    );
    assert_eq!(
        output(JsonForm::Unversioned),
        json!({"path": full, "method": "nar", "hashAlgo": "sha1", "hash": hash})
    );
    assert_eq!(
        output(JsonForm::V3),
        json!({"path": computed.base_name(), "method": "nar", "hashAlgo": "sha1", "hash": hash})
    );
    assert_eq!(
        output(JsonForm::V4),
        json!({"method": "nar", "hash": "sha1-DetSwnNes402D5drezgjxK0FzOc="})
    );
    let v4 = derivation_to_json(&drv, &store, JsonForm::V4).unwrap();
    assert_eq!(v4["structuredAttrs"], json!({"a": [], "b": 1}));
    assert_eq!(v4["env"], json!({"x": "y"}));
    let early = derivation_to_json(&drv, &store, JsonForm::Early).unwrap();
    assert_eq!(
        early["env"],
        json!({"__json": "{\"b\":1,\"a\":[]}", "x": "y"})
    );
}

#[test]
fn bad_fields_are_named() {
    let store = StoreDir::default();
    let good = derivation_to_json(&parse(FIXED), &store, JsonForm::V4).unwrap();
    let with = |field: &str, value: Value| {
        let mut bad = good.clone();
        bad[field] = value;
        derivation_from_json(&bad, &store, None)
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(with("version", json!(5)), @"JSON format version 5 is not supported");
    insta::assert_snapshot!(with("args", json!("x")), @"JSON field 'args' should be a list");
    insta::assert_snapshot!(with("env", json!({"a": 1})), @"JSON field 'env' should be a string");
    insta::assert_snapshot!(with("inputs", json!({"srcs": []})), @"JSON object has no field 'drvs'");
    insta::assert_snapshot!(with("inputs", json!({"srcs": ["x"], "drvs": {}})), @"JSON field 'inputSrcs' has a bad value 'x'");
    insta::assert_snapshot!(with("outputs", json!({"out": {"method": "nar", "hash": "sha1-AA=="}})), @"JSON field 'hash' has a bad value 'sha1-AA=='");
    insta::assert_snapshot!(with("outputs", json!({"out": {"method": "nar"}})), @"JSON object has no field 'hashAlgo'");
    insta::assert_snapshot!(with("outputs", json!({"a b": {}})), @"JSON field 'outputs' has a bad value 'a b'");
    insta::assert_snapshot!(with("structuredAttrs", json!([])), @"JSON field 'structuredAttrs' should be an object");
    insta::assert_snapshot!(with("name", json!("a/b")), @"name 'a/b' contains illegal character '/'");
}

#[test]
fn bytes_that_are_no_text_have_no_json() {
    let mut drv = parse(FIXED);
    drv.basic.env.insert("x".into(), b"\xc5\xc4".into());
    let error = derivation_to_json(&drv, &StoreDir::default(), JsonForm::V4).unwrap_err();
    insta::assert_snapshot!(error, @"'env.x' is not UTF-8, which JSON needs");
}
