use super::*;
use crate::tree::Tree;
use crate::{MAX_DEPTH, MAX_NAME, size};

fn directory() -> NarWriter<Vec<u8>> {
    let mut writer = NarWriter::new(Vec::new());
    writer.directory(b"").unwrap();
    writer
}

fn problem(result: Result<()>) -> Problem {
    match result {
        Err(Error::Unwritable { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn writes_the_worked_example() {
    let mut nar = Vec::new();
    write_regular(b"hello\n", false, &mut nar).unwrap();
    let expected = b"\x0d\0\0\0\0\0\0\0nix-archive-1\0\0\0\
        \x01\0\0\0\0\0\0\0(\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0type\0\0\0\0\
        \x07\0\0\0\0\0\0\0regular\0\x08\0\0\0\0\0\0\0contents\
        \x06\0\0\0\0\0\0\0hello\n\0\0\x01\0\0\0\0\0\0\0)\0\0\0\0\0\0\0";
    assert_eq!(nar, expected);
}

#[test]
fn the_executable_marker_stands_before_the_contents() {
    let nar = Tree::File(true, b"x".to_vec()).nar();
    let marker = b"\x0a\0\0\0\0\0\0\0executable\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(&nar[72..104], marker);
    assert_eq!(nar.len(), 112 + 8 + 32);
}

#[test]
fn rejects_entries_out_of_order() {
    for (first, second) in [("b", "a"), ("a", "a"), ("a", "B")] {
        let mut writer = directory();
        writer.symlink(first.as_bytes(), b"x").unwrap();
        let problem = problem(writer.symlink(second.as_bytes(), b"x"));
        assert!(matches!(problem, Problem::NotSorted { .. }), "{problem}");
    }
}

#[test]
fn rejects_impossible_names_and_targets() {
    let long = [b'n'; MAX_NAME + 1];
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
        assert_eq!(
            problem(directory().directory(name)),
            Problem::InvalidName(name.into())
        );
    }
    let long = [b't'; 4096];
    for target in [&b""[..], b"a\0", &long] {
        let problem = problem(directory().symlink(b"a", target));
        assert_eq!(problem, Problem::InvalidTarget(target.into()));
    }
}

#[test]
fn rejects_contents_of_another_length() {
    let mut writer = directory();
    writer.regular(b"a", false, 3).unwrap();
    writer.contents(b"12").unwrap();
    let expected = Problem::ContentsLength {
        announced: 3,
        given: 4,
    };
    assert_eq!(problem(writer.contents(b"34")), expected);

    let mut writer = directory();
    writer.regular(b"a", false, 3).unwrap();
    writer.contents(b"12").unwrap();
    let expected = Problem::ContentsLength {
        announced: 3,
        given: 2,
    };
    assert_eq!(problem(writer.directory(b"b")), expected);
}

#[test]
fn rejects_calls_that_make_no_archive() {
    let sequence = |result| assert!(matches!(problem(result), Problem::Sequence(_)));
    sequence(NarWriter::new(Vec::new()).end_directory());
    sequence(NarWriter::new(Vec::new()).directory(b"named"));
    sequence(NarWriter::new(Vec::new()).finish().map(drop));
    sequence(directory().finish().map(drop));
    let mut writer = NarWriter::new(Vec::new());
    writer.symlink(b"", b"x").unwrap();
    sequence(writer.symlink(b"", b"x"));
    sequence(writer.directory(b""));
    let mut writer = directory();
    writer.regular(b"a", false, 1).unwrap();
    sequence(writer.end_directory());
}

#[test]
fn rejects_nesting_beyond_the_limit() {
    let mut writer = directory();
    for _ in 1..MAX_DEPTH {
        writer.directory(b"d").unwrap();
    }
    assert_eq!(problem(writer.symlink(b"l", b"x")), Problem::TooDeep);
}

#[test]
fn sizes_add_up() {
    let tree = Tree::dir([
        ("a", Tree::file("12345678")),
        ("b", Tree::File(true, vec![0; 9])),
        ("long-name", Tree::link("target")),
    ]);
    let total = size::MAGIC
        + size::DIRECTORY
        + size::entry(1).unwrap()
        + size::regular(8, false).unwrap()
        + size::entry(1).unwrap()
        + size::regular(9, true).unwrap()
        + size::entry(9).unwrap()
        + size::symlink(6).unwrap();
    assert_eq!(tree.nar().len() as u64, total);
    assert_eq!(size::regular(u64::MAX, false), None);
}

#[test]
fn contents_larger_than_the_buffer_arrive_whole() {
    let data: Vec<u8> = (0..=255).cycle().take(1_000_003).collect();
    for piece in [1_000_003, 300_000, 4096] {
        let mut writer = NarWriter::with_capacity(10_000, Vec::new());
        writer.regular(b"", false, data.len() as u64).unwrap();
        for piece in data.chunks(piece) {
            writer.contents(piece).unwrap();
        }
        let (nar, size) = writer.finish().unwrap();
        assert_eq!(nar.len() as u64, size);
        assert!(nar == Tree::file(&data).nar());
    }
}

#[test]
fn events_of_a_reader_can_be_written_again() {
    let nar = Tree::dir([
        ("a", Tree::file("xyz")),
        ("b", Tree::dir([("c", Tree::link("t"))])),
    ])
    .nar();
    let mut reader = crate::NarReader::new(&nar[..]);
    let mut writer = NarWriter::new(Vec::new());
    while let Some(event) = reader.next().unwrap() {
        writer.event(&event).unwrap();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            writer.contents(chunk).unwrap();
        }
    }
    assert!(writer.finish().unwrap().0 == nar);
}
