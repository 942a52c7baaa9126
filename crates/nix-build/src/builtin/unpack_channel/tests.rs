use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::archives;
use super::*;

struct Unpacked {
    place: TempDir,
    result: Result<(), UnpackError>,
}

fn unpack_bytes(bytes: &[u8], name: &str) -> Unpacked {
    let place = tempfile::tempdir().unwrap();
    let archive = place.path().join("src");
    fs::write(&archive, bytes).unwrap();
    fs::create_dir(place.path().join("in")).unwrap();
    let result = unpack(&archive, &place.path().join("in/out"), name.as_bytes());
    Unpacked { place, result }
}

fn find(name: &str) -> Vec<u8> {
    let mut all = archives::good();
    all.extend(archives::bad());
    all.into_iter().find(|(n, _)| *n == name).unwrap().1
}

fn message(name: &str) -> String {
    unpack_bytes(&find(name), "channel")
        .result
        .unwrap_err()
        .to_string()
}

#[test]
fn every_compression_gives_the_same_tree() {
    for name in [
        "plain",
        "gzip",
        "bzip2",
        "xz",
        "lzma",
        "zstd",
        "gzip-twice",
        "two-members",
        "no-end",
    ] {
        let unpacked = unpack_bytes(&find(name), "channel");
        unpacked.result.unwrap();
        let root = unpacked.place.path().join("in/out/channel");
        assert_eq!(
            fs::read(root.join("default.nix")).unwrap(),
            b"{}\n",
            "{name}"
        );
        assert_eq!(
            fs::read_link(root.join("abs")).unwrap(),
            Path::new("/etc/passwd")
        );
        let script = fs::metadata(root.join("bin/x")).unwrap();
        assert_eq!(script.permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(root.join("h")).unwrap().ino(), script.ino());
    }
}

#[test]
fn all_good_ones_give_one_thing_of_the_channels_name() {
    for (name, bytes) in archives::good() {
        let unpacked = unpack_bytes(&bytes, "channel");
        unpacked
            .result
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let names: Vec<_> = fs::read_dir(unpacked.place.path().join("in/out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["channel"], "{name}");
    }
}

#[test]
fn bad_ones_touch_nothing_outside() {
    for (name, bytes) in archives::bad() {
        let unpacked = unpack_bytes(&bytes, "channel");
        assert!(unpacked.result.is_err(), "{name}");
        let names: Vec<_> = fs::read_dir(unpacked.place.path().join("in"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["out"], "{name}");
        assert_eq!(
            fs::read_dir(unpacked.place.path()).unwrap().count(),
            2,
            "{name}"
        );
    }
}

#[test]
fn special_modes_and_types_do_not_arise() {
    let unpacked = unpack_bytes(&find("modes"), "channel");
    let root = unpacked.place.path().join("in/out/channel");
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        [mode("suid"), mode("group"), mode("nobody")],
        [0o755, 0o644, 0o644]
    );
    assert_eq!(message("fifo"), "file 'c/p' has an unsupported type");
    assert_eq!(message("device"), "file 'c/n' has an unsupported type");
}

#[test]
fn refusals_say_why() {
    for (name, text) in [
        ("dotdot", "failed to extract archive (Path contains '..')"),
        (
            "dotdot-link",
            "failed to extract archive (Path contains '..')",
        ),
        (
            "through-link",
            "failed to extract archive (Cannot extract through symlink 'c/l/evil')",
        ),
        (
            "hard-link-to-nothing",
            "failed to extract archive (Hard-link target 'c/nope' does not exist)",
        ),
        (
            "over-full-directory",
            "failed to extract archive ('c/x' can't be put in place)",
        ),
    ] {
        assert!(message(name).starts_with(text), "{}", message(name));
    }
    assert!(message("two").ends_with("/src' contains more than one file"));
    assert!(message("none").ends_with("/src' is empty"));
    assert!(message("garbage").starts_with("failed to read archive '"));
}

#[test]
fn the_channels_name_is_one_component() {
    for name in ["", ".", "..", "a/b", "/", "a\0"] {
        let unpacked = unpack_bytes(&find("plain"), name);
        let error = unpacked.result.unwrap_err();
        assert!(
            matches!(error, UnpackError::ChannelName(_)),
            "{name}: {error}"
        );
        assert!(fs::symlink_metadata(unpacked.place.path().join("in/out")).is_err());
    }
    assert_eq!(
        unpack_bytes(&find("plain"), "a/b")
            .result
            .unwrap_err()
            .to_string(),
        "channelName is not allowed to contain filesystem separators, got a/b"
    );
}

#[test]
fn compression_that_never_ends_is_refused() {
    let mut bytes = find("plain");
    for _ in 0..9 {
        bytes = zstd::encode_all(&bytes[..], 1).unwrap();
    }
    assert!(unpack_bytes(&bytes, "x").result.is_err());
}
