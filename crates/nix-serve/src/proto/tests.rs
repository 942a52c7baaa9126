use std::collections::BTreeMap;
use std::io::Read;

use nix_base::arbitrary::{signature, store_path, valid_path_info};
use nix_base::{
    BuildOptions, BuildResult, BuildStatus, NarHash, OutputName, Signature, StoreDir, StorePath,
    UnkeyedRealisation, ValidPathInfo,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use test_support::OneByteReader;

use super::build_result::{BuildPathsReply, read_build_result, write_build_result};
use super::options::{read_build_options, write_build_options};
use super::path_info::{
    read_add_to_store_nar, read_path_info_item, write_add_to_store_nar, write_path_info_item,
    write_path_infos_end, write_signatures,
};
use super::realisation::with_stand_in;
use super::request::{BuildPaths, ExportPaths, QueryClosure, QueryValidPaths};
use super::*;

/// What was written is read back, from crumbs as well, and not from less.
fn back<T: std::fmt::Debug + PartialEq>(
    value: &T,
    bytes: &[u8],
    read: impl Fn(&mut dyn Read) -> Result<T>,
) {
    let mut rest = bytes;
    assert_eq!(&read(&mut rest).unwrap(), value);
    assert!(rest.is_empty());
    assert_eq!(&read(&mut OneByteReader::new(bytes)).unwrap(), value);
    for cut in (0..bytes.len()).step_by(7) {
        assert!(
            read(&mut &bytes[..cut]).unwrap_err().is_eof(),
            "cut at {cut}"
        );
    }
}

fn version() -> impl Strategy<Value = ServeVersion> {
    (0..=8_u8).prop_map(ServeVersion::v2)
}

fn path_set() -> impl Strategy<Value = nix_base::StorePathSet> {
    btree_set(store_path(), 0..6)
}

fn options() -> impl Strategy<Value = BuildOptions> {
    (any::<(u32, u32, u64, u32, bool, bool)>()).prop_map(|o| BuildOptions {
        max_silent_time: o.0,
        build_timeout: o.1,
        max_log_size: o.2,
        nr_repeats: o.3,
        enforce_determinism: o.4,
        keep_failed: o.5,
    })
}

fn build_result() -> impl Strategy<Value = BuildResult> {
    let output = (store_path(), btree_set(signature(), 0..3));
    let outputs = proptest::collection::btree_map("[a-z]{1,9}", output, 0..3);
    (
        0..15_u64,
        ".{0,40}",
        any::<(u32, bool)>(),
        0..=i64::MAX,
        outputs,
    )
        .prop_map(
            |(status, message, (times_built, is_non_deterministic), time, outputs)| {
                let status = BuildStatus::from_code(status).unwrap();
                let realisation = |(name, (out_path, signatures)): (String, _)| {
                    let name = OutputName::new(&name).unwrap();
                    let unkeyed = UnkeyedRealisation {
                        out_path,
                        signatures,
                    };
                    (name.clone(), with_stand_in(name, unkeyed))
                };
                BuildResult {
                    times_built,
                    is_non_deterministic,
                    start_time: time / 2,
                    stop_time: time,
                    built_outputs: outputs.into_iter().map(realisation).collect(),
                    ..BuildResult::failure(status, message)
                }
            },
        )
}

proptest! {
    #[test]
    fn requests_are_read_as_written(
        (lock, substitute) in any::<(bool, bool)>(), paths in path_set(), version in version(),
        options in options(), targets in vec("[ -~]{0,30}", 0..4),
    ) {
        let dir = &StoreDir::default();
        let written = |write: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
            let mut bytes = Vec::new();
            write(&mut bytes).unwrap();
            bytes
        };
        let request = QueryValidPaths { lock, substitute, paths: paths.clone() };
        back(&request, &written(&|w| request.write(dir, w)), |r| QueryValidPaths::read(dir, r));
        let request = QueryClosure { include_outputs: lock, paths: paths.clone() };
        back(&request, &written(&|w| request.write(dir, w)), |r| QueryClosure::read(dir, r));
        let request = ExportPaths { sign: lock, paths };
        back(&request, &written(&|w| request.write(dir, w)), |r| ExportPaths::read(dir, r));

        let newest = ServeVersion::LATEST;
        let request = BuildPaths { targets, options };
        back(&request, &written(&|w| request.write(newest, w)), |r| BuildPaths::read(newest, r));
        let bytes = written(&|w| write_build_options(&options, version, w));
        let read = read_build_options(version, &mut bytes.as_slice()).unwrap();
        back(&read, &bytes, |r| read_build_options(version, r));
    }

    #[test]
    fn path_infos_are_read_as_written(mut info in valid_path_info(), version in version()) {
        let dir = &StoreDir::default();
        let mut bytes = Vec::new();
        write_add_to_store_nar(&info, dir, &mut bytes).unwrap();
        back(&info, &bytes, |r| read_add_to_store_nar(dir, r));

        info.info.registration_time = 0;
        if !version.has_nar_hash() {
            info.info.nar_hash = NarHash::from_bytes([0; 32]);
            info.info.ca = None;
            info.info.sigs.clear();
        }
        let mut bytes = Vec::new();
        write_path_info_item(&info, dir, version, &mut bytes).unwrap();
        back(&Some(info), &bytes, |r| read_path_info_item(dir, version, r));
    }

    #[test]
    fn build_results_are_read_as_written(mut result in build_result(), version in version()) {
        let dir = &StoreDir::default();
        let mut bytes = Vec::new();
        write_build_result(&result, dir, version, &mut bytes).unwrap();
        if !version.has_build_times() {
            let known = BuildResult::failure(result.status, result.error_msg);
            result = BuildResult { built_outputs: result.built_outputs, ..known };
        }
        if !version.has_built_outputs() {
            result.built_outputs = BTreeMap::new();
        } else if !version.has_realisations_by_name() {
            // Signatures are left out of the stand-ins for older clients.
            result.built_outputs.values_mut().for_each(|output| output.signatures.clear());
        }
        back(&result, &bytes, |r| read_build_result(dir, version, r));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..200), small in vec(0..10_u64, 0..30)) {
        let words: Vec<u8> = small.iter().flat_map(|word| word.to_le_bytes()).collect();
        for mut bytes in [bytes.as_slice(), words.as_slice()] {
            let dir = &StoreDir::default();
            let newest = ServeVersion::LATEST;
            let copy = bytes;
            let _ = QueryValidPaths::read(dir, &mut bytes);
            let _ = BuildPaths::read(newest, &mut { copy });
            let _ = read_path_info_item(dir, newest, &mut { copy });
            let _ = read_add_to_store_nar(dir, &mut { copy });
            for minor in [7, 8] {
                let _ = read_build_result(dir, ServeVersion::v2(minor), &mut { copy });
            }
            let _ = BuildPathsReply::read(&mut { copy });
            let _ = command::read_command(&mut { copy });
        }
    }
}

fn example() -> ValidPathInfo {
    let path = StorePath::from_base_name(&format!("{}-x", "0".repeat(32))).unwrap();
    let info = nix_base::UnkeyedValidPathInfo::new(NarHash::from_bytes([1; 32]), 120);
    ValidPathInfo { path, info }
}

#[test]
fn an_object_without_size_cannot_be_added() {
    let mut info = example();
    info.info.nar_size = 0;
    let mut bytes = Vec::new();
    write_add_to_store_nar(&info, &StoreDir::default(), &mut bytes).unwrap();
    let error = read_add_to_store_nar(&StoreDir::default(), &mut bytes.as_slice()).unwrap_err();
    insta::assert_snapshot!(error, @"narInfo is too old and missing the narSize field");
}

#[test]
fn malformed_signatures_are_kept_back() {
    let good = Signature::from_parts("k", &[7; 64]);
    let sigs = [good, Signature::verbatim("no-colon").unwrap()].into();
    let mut bytes = Vec::new();
    write_signatures(&sigs, &mut bytes).unwrap();
    assert_eq!(bytes[0], 1);
    assert!(!bytes.windows(8).any(|window| window == b"no-colon"));
}

#[test]
fn the_end_of_path_infos_is_an_empty_path() {
    let mut bytes = Vec::new();
    write_path_infos_end(&mut bytes).unwrap();
    let item = read_path_info_item(
        &StoreDir::default(),
        ServeVersion::LATEST,
        &mut bytes.as_slice(),
    );
    assert_eq!(item.unwrap(), None);
}

#[test]
fn build_paths_have_a_message_only_with_a_failure() {
    for (status, error_msg, len) in [(0, "", 8), (100, "no", 24)] {
        let reply = BuildPathsReply {
            status,
            error_msg: error_msg.into(),
        };
        let mut bytes = Vec::new();
        reply.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), len);
        back(&reply, &bytes, |r| BuildPathsReply::read(r));
    }
}

#[test]
fn long_messages_are_cut_by_the_writer_and_refused_by_the_reader() {
    let dir = StoreDir::default();
    let version = ServeVersion::v2(2);
    let long = BuildResult::failure(BuildStatus::MiscFailure, "ä".repeat(40_000));
    let mut bytes = Vec::new();
    write_build_result(&long, &dir, version, &mut bytes).unwrap();
    let read = read_build_result(&dir, version, &mut bytes.as_slice()).unwrap();
    assert_eq!(read.error_msg, "ä".repeat(32_768));

    let mut bytes = 9_u64.to_le_bytes().to_vec();
    bytes.extend(70_000_u64.to_le_bytes());
    let error = read_build_result(&dir, version, &mut bytes.as_slice()).unwrap_err();
    insta::assert_snapshot!(error, @"the error message is too long: 70000 bytes where at most 65536 are allowed");
}

#[test]
fn unknown_statuses_are_refused() {
    let bytes = [15_u64.to_le_bytes(), [0; 8]].concat();
    let error = read_build_result(
        &StoreDir::default(),
        ServeVersion::v2(1),
        &mut bytes.as_slice(),
    );
    insta::assert_snapshot!(error.unwrap_err(), @"invalid build status 15");
}
