use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, mkfifoat};

use super::*;
use crate::tree::Tree;

fn dumped(path: &Path) -> Tree {
    let mut nar = Vec::new();
    let size = dump(path, &mut nar).unwrap();
    assert_eq!(size, nar.len() as u64);
    let mut through_fd = tempfile::tempfile().unwrap();
    assert_eq!(dump_to_fd(path, through_fd.as_fd()).unwrap(), size);
    assert!(contents(&mut through_fd) == nar);
    Tree::read(&nar[..]).unwrap()
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn entries_stand_in_the_order_of_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "b",
        "B",
        "a-b",
        "a.b",
        "a",
        "ab",
        "\u{e9}",
        "~",
        "CON",
        "new\nline",
        "0",
    ];
    for name in names {
        fs::write(dir.path().join(name), name).unwrap();
    }
    fs::create_dir(dir.path().join("a b")).unwrap();
    let bad = OsStr::from_bytes(b"\xff\xfe");
    symlink("x", dir.path().join(bad)).unwrap();
    let Tree::Dir(entries) = dumped(dir.path()) else {
        panic!("a directory")
    };
    assert_eq!(entries.len(), names.len() + 2);
    assert_eq!(entries["new\nline".as_bytes()], Tree::file("new\nline"));
    assert_eq!(entries[&b"\xff\xfe"[..]], Tree::link("x"));
}

#[test]
fn only_the_owner_makes_a_file_executable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, "x").unwrap();
    for (mode, executable) in [
        (0o644, false),
        (0o744, true),
        (0o655, false),
        (0o400, false),
        (0o4500, true),
    ] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            dumped(&file),
            Tree::File(executable, b"x".to_vec()),
            "{mode:o}"
        );
    }
}

#[test]
fn a_link_as_root_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    for target in ["nowhere/at/all", "."] {
        let link = dir.path().join("link");
        symlink(target, &link).unwrap();
        assert_eq!(dumped(&link), Tree::link(target));
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn large_and_small_files_of_all_sizes_arrive_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = std::collections::BTreeMap::new();
    for size in [
        0, 1, 7, 8, 4096, 131_071, 131_072, 131_073, 1_000_001, 20_000_000,
    ] {
        let data: Vec<u8> = (0..=250).cycle().take(size).collect();
        fs::write(dir.path().join(format!("{size}")), &data).unwrap();
        expected.insert(format!("{size}").into_bytes(), Tree::File(false, data));
    }
    assert!(dumped(dir.path()) == Tree::Dir(expected));
}

#[test]
fn every_kind_of_descriptor_gets_the_same_archive() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("large"), vec![b'l'; 3_000_000]).unwrap();
    fs::write(dir.path().join("small"), "s").unwrap();
    let mut expected = Vec::new();
    dump(dir.path(), &mut expected).unwrap();

    let (reader, writer) = std::io::pipe().unwrap();
    let path = dir.path();
    std::thread::scope(|scope| {
        scope.spawn(move || dump_to_fd(path, writer.as_fd()).unwrap());
        assert!(read_all(reader) == expected, "pipe");
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        scope.spawn(move || dump_to_fd(path, theirs.as_fd()).unwrap());
        assert!(read_all(ours) == expected, "socket that does not block");
    });
    // The kernel refuses to move data to such a file.
    let appended = dir.path().with_extension("nar");
    let file = File::options()
        .append(true)
        .create_new(true)
        .open(&appended)
        .unwrap();
    dump_to_fd(path, file.as_fd()).unwrap();
    assert!(
        fs::read(&appended).unwrap() == expected,
        "file that is appended to"
    );
    fs::remove_file(&appended).unwrap();
}

fn read_all(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn dumps_relative_to_an_open_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "x").unwrap();
    let parent = File::open(dir.path()).unwrap();
    let mut nar = Vec::new();
    dump_at(parent.as_fd(), OsStr::new("f"), &mut nar).unwrap();
    assert_eq!(nar, Tree::file("x").nar());
    let mut file = tempfile::tempfile().unwrap();
    dump_at_to_fd(parent.as_fd(), OsStr::new("f"), file.as_fd()).unwrap();
    assert_eq!(contents(&mut file), nar);
}

#[test]
fn other_types_are_refused_by_name_and_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let fifo = dir.path().join("d/fifo");
    mkfifoat(CWD, &fifo, Mode::RWXU).unwrap();
    for root in [dir.path(), &fifo] {
        match dump(root, &mut std::io::sink()) {
            Err(Error::UnsupportedType { path }) => assert_eq!(path, fifo),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_is_shorter_than_it_says_is_an_error_and_a_longer_one_is_cut() {
    // Such files claim a page, or nothing, whatever can be read from them.
    let short = Path::new("/sys/kernel/uevent_seqnum");
    let claimed = fs::metadata(short)
        .map(|metadata| metadata.len())
        .unwrap_or(0);
    if claimed > 0 {
        let error = dump(short, &mut std::io::sink()).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{error}");
        let error = dump_to_fd(short, tempfile::tempfile().unwrap().as_fd()).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{error}");
    } else {
        test_support::say("no sysfs: a shrinking file was not tried");
    }
    assert_eq!(dumped(Path::new("/proc/self/status")), Tree::file(""));
}

#[test]
fn a_missing_root_is_not_found_and_named() {
    let error = dump(Path::new("/nowhere/x"), &mut std::io::sink()).unwrap_err();
    assert!(error.is_not_found());
    insta::assert_snapshot!(error, @"cannot stat '/nowhere/x'");
}

#[test]
fn trees_are_dumped_down_to_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let deepest = "d/".repeat(MAX_DEPTH - 1);
    fs::create_dir_all(dir.path().join(&deepest)).unwrap();
    let expected = Tree::nested(MAX_DEPTH - 1, Tree::dir([]));
    assert!(dumped(dir.path()) == expected);
    fs::write(dir.path().join(&deepest).join("f"), "").unwrap();
    match dump(dir.path(), &mut std::io::sink()) {
        Err(Error::TooDeep { path }) => assert_eq!(path, dir.path().join(&deepest).join("f")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failing_writer_is_told_apart_from_the_tree() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), vec![0; 1 << 20]).unwrap();
    let error = dump_to_fd(dir.path(), writer.as_fd()).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    let error = dump(dir.path(), &mut &writer).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
}
