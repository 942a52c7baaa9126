use std::fs;

use super::packages::parse;
use super::*;

#[test]
fn lists_of_packages_are_words() {
    let packages = parse(b" true 5 2 /a /b\n\tfalse -3x 0 x +7 1 /c ").unwrap();
    let short: Vec<_> = packages
        .iter()
        .map(|p| (p.path.to_str().unwrap(), p.is_active, p.priority))
        .collect();
    assert_eq!(short, [("/a", true, 5), ("/b", true, 5), ("/c", true, 7)]);
    assert_eq!(parse(b"").unwrap(), []);
}

#[test]
fn refuses_lists_that_end_too_early_or_have_no_numbers() {
    for text in ["true", "true 5", "true 5 1", "true 5 2 /a"] {
        assert_eq!(
            parse(text.as_bytes()),
            Err(PackagesError::TooShort),
            "{text}"
        );
    }
    for text in [
        "true a 1 /a",
        "true 5 - /a",
        "true 5 -1",
        "true 5 99999999999 /a",
    ] {
        let error = parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, PackagesError::NotANumber(_)), "{text}");
    }
    // As many as it says, but no memory for them until they are there.
    assert_eq!(parse(b"true 5 2147483647 /a"), Err(PackagesError::TooShort));
}

#[test]
fn priorities_settle_files_and_directories_are_merged() {
    let place = tempfile::tempdir().unwrap();
    for (package, file) in [
        ("a", "bin/x"),
        ("a", "share/a"),
        ("b", "bin/x"),
        ("b", "bin/y"),
    ] {
        let path = place.path().join(package).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, package).unwrap();
    }
    let out = place.path().join("out");
    let words = format!("true 5 1 {0}/a true 4 1 {0}/b", place.path().display());
    build(
        &out,
        parse(words.as_bytes()).unwrap(),
        Path::new("/manifest"),
    )
    .unwrap();
    assert_eq!(fs::read(out.join("bin/x")).unwrap(), b"b");
    assert_eq!(fs::read(out.join("bin/y")).unwrap(), b"b");
    assert_eq!(
        fs::read_link(out.join("share")).unwrap(),
        place.path().join("a/share")
    );
    assert_eq!(
        fs::read_link(out.join("manifest.nix")).unwrap(),
        Path::new("/manifest")
    );
}

#[test]
fn links_in_a_circle_end_with_an_error() {
    let place = tempfile::tempdir().unwrap();
    for package in ["a", "b"] {
        fs::create_dir(place.path().join(package)).unwrap();
        std::os::unix::fs::symlink(".", place.path().join(package).join("loop")).unwrap();
    }
    let words = format!("true 5 2 {0}/a {0}/b", place.path().display());
    let packages = parse(words.as_bytes()).unwrap();
    build(&place.path().join("out"), packages, Path::new("/m")).unwrap_err();
}
