//! Protocol values: read, compared with their JSON, and written again.

use std::collections::BTreeSet;
use std::fmt::Debug;

use nix_base::json::path_info::{content_address_from_json, path_info_from_json};
use nix_base::json::realisation::{realisation_from_json, unkeyed_realisation_from_json};
use nix_base::{
    BuildOptions, BuildResult, BuildStatus, ContentAddress, DrvOutput, OutputName, StoreDir,
    StorePath, UnkeyedRealisation, WireRead, WireWrite,
};
use nix_serve::proto::build_result::{read_build_result, write_build_result};
use nix_serve::proto::handshake::{CLIENT_MAGIC, read_server_hello, serve_handshake};
use nix_serve::proto::options::{read_build_options, write_build_options};
use nix_serve::proto::path_info::{
    read_optional_content_address, read_unkeyed_valid_path_info, write_optional_content_address,
    write_unkeyed_valid_path_info,
};
use nix_serve::proto::realisation::{
    read_output_of, read_realisation, read_unkeyed_realisation, with_stand_in, write_output_of,
    write_realisation, write_unkeyed_realisation,
};
use nix_serve::proto::{Result, ServeVersion};
use serde_json::Value;
use test_support::OneByteReader;
use test_support::vectors::{Expect, Vector, report, with_format};

/// Any stream of bytes, so that one reader function serves all tests.
type Stream<'a> = &'a mut dyn std::io::Read;

#[test]
fn values_are_those_of_the_json_and_written_back_as_they_were() {
    let vectors = with_format("serve-value");
    for vector in &vectors {
        assert_eq!(vector.expect, Expect::Accept, "{}", vector.file);
        check(vector);
    }
    report("serve-protocol", vectors.len());
}

fn check(vector: &Vector) {
    let dir = &StoreDir::default();
    let version = version(vector);
    match vector.property("kind").unwrap() {
        "string" | "set" | "vector" => check_shapes(vector),
        "handshake-to-client" => check_handshake(vector, version),
        "build-options" => check_options(vector, version),
        "store-path" | "optional-store-path" => both_ways(
            vector,
            |r| Ok(r.read_optional_path("path", dir)?),
            |path, w| w.write_optional_path(dir, path.as_ref()),
            |json| json.as_str().map(base_name),
        ),
        "content-address" | "optional-content-address" => both_ways(
            vector,
            |r| read_optional_content_address(r),
            |ca, w| write_optional_content_address(ca.as_ref(), w),
            content_address,
        ),
        "drv-output" => both_ways(
            vector,
            |r| read_output_of(dir, r),
            |(path, output), w| write_output_of(path, output, dir, w),
            |json| {
                let text = |field: &str| json[field].as_str().unwrap();
                (base_name(text("drvPath")), output_name(text("outputName")))
            },
        ),
        "realisation" | "realisation-with-deps" => both_ways(
            vector,
            |r| read_realisation(r),
            write_realisation,
            |json| realisation_from_json(json).unwrap(),
        ),
        "unkeyed-realisation" => both_ways(
            vector,
            |r| read_unkeyed_realisation(dir, r),
            |realisation, w| write_unkeyed_realisation(realisation, dir, w),
            |json| unkeyed_realisation_from_json(json).unwrap(),
        ),
        "unkeyed-valid-path-info" => both_ways(
            vector,
            |r| read_unkeyed_valid_path_info(dir, version, r),
            |info, w| write_unkeyed_valid_path_info(info, dir, version, w),
            |json| path_info_from_json(dir, json).unwrap(),
        ),
        "build-result" => both_ways(
            vector,
            |r| read_build_result(dir, version, r),
            |result, w| write_build_result(result, dir, version, w),
            build_result,
        ),
        other => panic!("{}: kind '{other}' is not known", vector.file),
    }
}

/// Reads values to the end of the file, compares them with the JSON where there is one,
/// and writes them. Nothing may change when bytes come singly, and no value may be had
/// from less than its bytes.
fn both_ways<T: Debug + PartialEq>(
    vector: &Vector,
    read: impl Fn(Stream<'_>) -> Result<T>,
    write: impl Fn(&T, &mut Vec<u8>) -> std::io::Result<()>,
    from_json: impl Fn(&Value) -> T,
) {
    let bytes = vector.read();
    let mut rest = bytes.as_slice();
    let mut values = Vec::new();
    let mut ends = Vec::new();
    while !rest.is_empty() {
        values.push(read(&mut rest).unwrap_or_else(|e| panic!("{}: {e:?}", vector.file)));
        ends.push(bytes.len() - rest.len());
    }
    assert!(!values.is_empty(), "{}", vector.file);

    if let Some(json) = vector.json() {
        let expected: Vec<T> = match &json {
            Value::Array(items) => items.iter().map(&from_json).collect(),
            single => vec![from_json(single)],
        };
        assert_eq!(values, expected, "{}", vector.file);
    }
    if vector.properties["reprint_identical"] == Value::Bool(true) {
        let mut written = Vec::new();
        values
            .iter()
            .for_each(|value| write(value, &mut written).unwrap());
        assert_eq!(written, bytes, "{}", vector.file);
    }
    let mut crumbs = OneByteReader::new(bytes.as_slice());
    for value in &values {
        assert_eq!(&read(&mut crumbs).unwrap(), value, "{}", vector.file);
    }
    let start = ends.len().checked_sub(2).map_or(0, |i| ends[i]);
    for cut in start..bytes.len() {
        assert!(
            read(&mut &bytes[start..cut]).is_err(),
            "{} at {cut}",
            vector.file
        );
    }
}

fn check_shapes(vector: &Vector) {
    let json = vector.json().unwrap();
    let bytes = vector.read();
    let mut rest = bytes.as_slice();
    let mut written = Vec::new();
    for item in json.as_array().unwrap() {
        let value = read_like(item, &mut rest);
        assert_eq!(&value, item, "{}", vector.file);
        write_value(&value, &mut written);
    }
    assert!(rest.is_empty(), "{}", vector.file);
    assert_eq!(written, bytes, "{}", vector.file);
}

/// Reads a string or a list of the shape of `json`, which does not show in the bytes.
fn read_like(json: &Value, reader: &mut &[u8]) -> Value {
    match json {
        Value::Array(items) => {
            let count = reader.read_count("items", 100).unwrap();
            assert_eq!(count, items.len() as u64);
            items.iter().map(|item| read_like(item, reader)).collect()
        }
        _ => reader.read_string("text", 1000).unwrap().into(),
    }
}

fn write_value(value: &Value, writer: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            writer.write_u64(items.len() as u64).unwrap();
            items.iter().for_each(|item| write_value(item, writer));
        }
        text => writer.write_str(text.as_str().unwrap()).unwrap(),
    }
}

fn check_handshake(vector: &Vector, version: ServeVersion) {
    let bytes = vector.read();
    let word = read_server_hello(&mut bytes.as_slice()).unwrap();
    assert_eq!(word, version.into());
    let mut hello = Vec::new();
    hello.write_u64(CLIENT_MAGIC).unwrap();
    hello.write_u64(0x208).unwrap();
    let mut written = Vec::new();
    serve_handshake(version.into(), &mut hello.as_slice(), &mut written).unwrap();
    assert_eq!(written, bytes);
    for cut in 0..bytes.len() {
        assert!(
            read_server_hello(&mut &bytes[..cut]).is_err(),
            "cut at {cut}"
        );
    }
    for i in 0..8 {
        let mut altered = bytes.clone();
        altered[i] ^= 1;
        assert!(
            read_server_hello(&mut altered.as_slice()).is_err(),
            "byte {i}"
        );
    }
}

/// The values as the description of the vectors has them: there is no JSON.
fn check_options(vector: &Vector, version: ServeVersion) {
    let expected = BuildOptions {
        max_silent_time: 5,
        build_timeout: 6,
        max_log_size: if version.has_max_log_size() { 7 } else { 0 },
        nr_repeats: if version.has_repeats() { 8 } else { 0 },
        enforce_determinism: version.has_repeats() && !version.has_keep_failed(),
        keep_failed: version.has_keep_failed(),
    };
    let read = |r: Stream<'_>| read_build_options(version, r);
    assert_eq!(read(&mut vector.read().as_slice()).unwrap(), expected);
    both_ways(
        vector,
        read,
        |options, w| write_build_options(options, version, w),
        |_| unreachable!("build options have no JSON"),
    );
}

fn content_address(json: &Value) -> Option<ContentAddress> {
    let json = Some(json).filter(|json| !json.is_null())?;
    Some(content_address_from_json(json).unwrap())
}

fn build_result(json: &Value) -> BuildResult {
    let status = BuildStatus::from_name(json["status"].as_str().unwrap()).unwrap();
    assert_eq!(json["success"], Value::Bool(status.is_success()));
    let number = |field: &str| json[field].as_i64().unwrap_or_default();
    let mut result = BuildResult::failure(status, json["errorMsg"].as_str().unwrap_or_default());
    result.times_built = number("timesBuilt").try_into().unwrap();
    result.is_non_deterministic = json["isNonDeterministic"] == Value::Bool(true);
    result.start_time = number("startTime");
    result.stop_time = number("stopTime");
    for (name, output) in json["builtOutputs"].as_object().into_iter().flatten() {
        let unkeyed: UnkeyedRealisation = unkeyed_realisation_from_json(output).unwrap();
        let name = output_name(name);
        let realisation = with_stand_in(name.clone(), unkeyed);
        assert_eq!(realisation.id, DrvOutput::stand_in(name.clone()));
        assert_eq!(realisation.signatures, BTreeSet::new());
        result.built_outputs.insert(name, realisation);
    }
    result
}

fn base_name(text: &str) -> StorePath {
    StorePath::from_base_name(text).unwrap()
}

fn output_name(text: &str) -> OutputName {
    text.parse().unwrap()
}

fn version(vector: &Vector) -> ServeVersion {
    let text = vector.property("version").unwrap();
    let minor = text.strip_prefix("2.").unwrap().parse().unwrap();
    ServeVersion::v2(minor)
}
