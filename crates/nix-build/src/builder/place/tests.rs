use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn file(name: &str, contents: &[u8]) -> BuildFile {
    BuildFile {
        name: name.into(),
        contents: contents.into(),
        mode: 0o644,
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn the_outer_directory_lets_nobody_through_and_goes_with_the_place() {
    let builds = tempfile::tempdir().unwrap();
    let place = BuildPlace::create(&builds.path().join("builds"), "x.drv", None).unwrap();
    assert!(is_name_of_place(place.name.as_bytes()), "{}", place.name);
    let (build, tmp) = (place.build_path(), place.tmp_path());
    assert_eq!(mode(build.parent().unwrap()), 0o700);
    assert_eq!(mode(&build), 0o700);
    assert_eq!(mode(&tmp), 0o1777);
    place
        .write_files(&[file(".attrs.sh", b"declare x=1\n")])
        .unwrap();
    assert_eq!(
        std::fs::read(build.join(".attrs.sh")).unwrap(),
        b"declare x=1\n"
    );
    drop(place);
    assert!(std::fs::symlink_metadata(build.parent().unwrap()).is_err());
}

#[test]
fn a_planted_file_is_not_written_through() {
    let builds = tempfile::tempdir().unwrap();
    let place = BuildPlace::create(builds.path(), "x.drv", None).unwrap();
    let target = builds.path().join("canary");
    symlink(&target, place.build_path().join(".attrs.sh")).unwrap();
    let error = place.write_files(&[file(".attrs.sh", b"")]).unwrap_err();
    assert!(error.message.contains(".attrs.sh"), "{error}");
    assert!(std::fs::symlink_metadata(target).is_err());
}

#[test]
fn what_is_kept_is_ours_and_has_no_set_id_bits() {
    let builds = tempfile::tempdir().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let owner = is_root.then_some((872_415_232, 872_415_232));
    let place = BuildPlace::create(builds.path(), "x.drv", owner).unwrap();
    let program = place.build_path().join("suid");
    place.write_files(&[file("suid", b"x")]).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o6755)).unwrap();
    let kept = place.keep().unwrap();
    let metadata = std::fs::metadata(&program).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o755);
    assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(mode(&kept), 0o755);
    assert_eq!(mode(kept.parent().unwrap()), 0o755);
}

#[test]
fn long_names_of_derivations_fit() {
    let builds = tempfile::tempdir().unwrap();
    BuildPlace::create(builds.path(), &"x".repeat(211), None).unwrap();
}

#[test]
fn names_of_others_are_none_of_a_place() {
    let digits = "0123456789abcdfg";
    assert!(is_name_of_place(format!("a-1.drv-{digits}").as_bytes()));
    for name in [
        ".",
        "..",
        "tmp.Xh2V9sPq3a",
        "work",
        digits,
        "a-0123456789abcdf",
        "a-0123456789abcdfgh",
        "a-0123456789abcdfe",
    ] {
        assert!(!is_name_of_place(name.as_bytes()), "{name}");
    }
}
