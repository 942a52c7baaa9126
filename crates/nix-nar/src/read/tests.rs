use std::io::{BufReader, Read};

use proptest::prelude::*;

use super::*;
use crate::tree::{Tree, tokens, words};
use crate::{MAX_DEPTH, copy, copy_limited};

/// Parses all at once and in crumbs, which must make no difference.
fn problem(nar: &[u8]) -> (Problem, u64) {
    let mut all = NarReader::new(nar);
    let at_once = all.finish().unwrap_err();
    for capacity in [1, 7, 16, 33] {
        let mut crumbs = NarReader::new(BufReader::with_capacity(capacity, nar));
        let error = crumbs.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            at_once.to_string(),
            "buffer of {capacity}"
        );
    }
    match at_once {
        Error::BadArchive {
            problem, offset, ..
        } => (problem, offset),
        other => panic!("{other:?}"),
    }
}

fn unexpected(expected: &'static str, found: &str) -> Problem {
    Problem::UnexpectedTag {
        expected,
        found: found.into(),
    }
}

const DIR: &str = "nix-archive-1 ( type directory";

#[test]
fn accepts_the_worked_example() {
    let nar = words("nix-archive-1 ( type regular contents hello! )");
    assert_eq!(nar.len(), 120);
    assert_eq!(Tree::read(&nar[..]).unwrap(), Tree::file("hello!"));
}

#[test]
fn refuses_every_deviation_from_the_grammar() {
    let file = "( type regular contents x )";
    for (text, expected, offset) in [
        ("nix-archive-2 ( type directory )", Problem::Magic, 0),
        ("nix-archive-11 ( type directory )", Problem::Magic, 0),
        ("( type directory )", Problem::Magic, 0),
        (
            "nix-archive-1 type directory )",
            unexpected("(", "type"),
            24,
        ),
        ("nix-archive-1 ( )", unexpected("type", ")"), 40),
        (
            "nix-archive-1 ( type fifo )",
            Problem::UnknownType("fifo".into()),
            56,
        ),
        (
            "nix-archive-1 ( type type regular",
            Problem::UnknownType("type".into()),
            56,
        ),
        (
            "nix-archive-1 ( type regular )",
            unexpected("contents", ")"),
            72,
        ),
        (
            "nix-archive-1 ( type regular type regular",
            unexpected("contents", "type"),
            72,
        ),
        (
            "nix-archive-1 ( type regular executable x contents x )",
            Problem::ExecutableValue,
            96,
        ),
        (
            "nix-archive-1 ( type regular contents x executable '' )",
            unexpected(")", "executable"),
            104,
        ),
        (
            "nix-archive-1 ( type regular executable '' executable '' contents x )",
            unexpected("contents", "executable"),
            104,
        ),
        (
            "nix-archive-1 ( type regular executable '' )",
            unexpected("contents", ")"),
            104,
        ),
        (
            "nix-archive-1 ( type regular contents x contents y )",
            unexpected(")", "contents"),
            104,
        ),
        (
            "nix-archive-1 ( type symlink )",
            unexpected("target", ")"),
            72,
        ),
        (
            "nix-archive-1 ( type symlink target x target x )",
            unexpected(")", "target"),
            104,
        ),
        (
            "nix-archive-1 ( type directory contents x )",
            unexpected("entry", "contents"),
            80,
        ),
    ] {
        assert_eq!(problem(&words(text)), (expected, offset), "{text}");
    }
    for (text, expected) in [
        ("entry ( )", unexpected("name", ")")),
        ("entry ( node", unexpected("name", "node")),
        ("entry ( name a )", unexpected("node", ")")),
        ("entry ( name a node )", unexpected("(", ")")),
        ("entry ( name a name b", unexpected("node", "name")),
        (
            "entry ( name a node FILE node FILE ) )",
            unexpected(")", "node"),
        ),
        ("entry ( name a node FILE entry", unexpected(")", "entry")),
        (
            "entry ( name a node ( type directory ) entry",
            unexpected(")", "entry"),
        ),
    ] {
        let text = format!("{DIR} {}", text.replace("FILE", file));
        assert_eq!(problem(&words(&text)).0, expected, "{text}");
    }
}

#[test]
fn rejects_entries_out_of_order() {
    for (first, second) in [
        ("b", "a"),
        ("a", "a"),
        ("a", "B"),
        ("a.b", "a-b"),
        ("ab", "a"),
    ] {
        let link = "( type symlink target x )";
        let text = format!(
            "{DIR} entry ( name {first} node {link} ) entry ( name {second} node {link} ) )"
        );
        let expected = Problem::NotSorted {
            name: second.into(),
            previous: first.into(),
        };
        assert_eq!(problem(&words(&text)).0, expected);
    }
}

#[test]
fn order_is_by_directory_and_counts_directories_too() {
    let inner = Tree::dir([("z", Tree::file("")), ("zz", Tree::dir([]))]);
    let tree = Tree::dir([("a", inner.clone()), ("b", inner), ("c", Tree::link("x"))]);
    assert_eq!(Tree::read(&tree.nar()[..]).unwrap(), tree);
    let text = format!("{DIR} entry ( name b node ( type directory ) ) entry ( name a node");
    assert!(matches!(
        problem(&words(&text)).0,
        Problem::NotSorted { .. }
    ));
}

#[test]
fn rejects_names_that_are_no_component() {
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", b"\0"] {
        let mut nar = words(DIR);
        nar.extend(tokens(&[
            b"entry", b"(", b"name", name, b"node", b"(", b"type",
        ]));
        assert_eq!(problem(&nar).0, Problem::InvalidName(name.into()));
    }
    for (len, good) in [(255, true), (256, false)] {
        let name = vec![b'n'; len];
        let mut nar = words(DIR);
        nar.extend(tokens(&[b"entry", b"(", b"name", &name, b"node"]));
        nar.extend(words("( type directory ) ) )"));
        if good {
            copy(&mut &nar[..], &mut std::io::sink()).unwrap();
        } else {
            assert_eq!(
                problem(&nar).0,
                Problem::StringTooLong {
                    length: 256,
                    limit: 255
                }
            );
        }
    }
}

#[test]
fn rejects_impossible_link_targets() {
    let link = |target: &[u8]| {
        let mut nar = words("nix-archive-1 ( type symlink target");
        nar.extend(tokens(&[target, b")"]));
        nar
    };
    for target in [&b""[..], b"a\0b"] {
        assert_eq!(
            problem(&link(target)).0,
            Problem::InvalidTarget(target.into())
        );
    }
    let longest = Tree::Link(vec![b't'; 4095]);
    assert_eq!(Tree::read(&longest.nar()[..]).unwrap(), longest);
    let too_long = Problem::StringTooLong {
        length: 4096,
        limit: 4095,
    };
    assert_eq!(problem(&link(&[b't'; 4096])).0, too_long);
}

#[test]
fn rejects_any_padding_that_is_not_zero() {
    let tree = Tree::dir([("abc", Tree::file("x")), ("b", Tree::link("y"))]);
    let nar = tree.nar();
    let mut paddings = 0;
    let mut at = 0;
    while at < nar.len() {
        let len = u64::from_le_bytes(nar[at..at + 8].try_into().unwrap());
        let end = at + 8 + usize::try_from(len).unwrap();
        at = end.next_multiple_of(8);
        for i in end..at {
            let mut bad = nar.clone();
            bad[i] = 1;
            assert!(Tree::read(&bad[..]).is_err(), "byte {i}");
            paddings += 1;
        }
    }
    assert!(paddings > 20);
}

#[test]
fn padding_is_checked_when_contents_are_skipped() {
    let mut nar = Tree::file("x").nar();
    let at = nar.len() - 17;
    nar[at] = 1;
    assert_eq!(problem(&nar).0, Problem::Padding);
}

#[test]
fn every_truncation_is_an_unexpected_end() {
    let tree = Tree::dir([("a", Tree::File(true, vec![7; 20])), ("b", Tree::link("y"))]);
    let nar = tree.nar();
    for end in 0..nar.len() {
        assert_eq!(problem(&nar[..end]), (Problem::UnexpectedEnd, end as u64));
    }
}

#[test]
fn nesting_ends_at_the_limit() {
    for (tree, good) in [
        (Tree::nested(MAX_DEPTH - 1, Tree::file("")), true),
        (Tree::nested(MAX_DEPTH - 1, Tree::dir([])), true),
    ] {
        assert_eq!(Tree::read(&tree.nar()[..]).is_ok(), good);
    }
    for innermost in ["( type directory )", "( type symlink target x )"] {
        let open = "( type directory entry ( name d node ".repeat(MAX_DEPTH);
        let nar = words(&format!(
            "nix-archive-1 {open} {innermost} {}",
            ") ) ".repeat(MAX_DEPTH)
        ));
        assert_eq!(problem(&nar).0, Problem::TooDeep);
    }
}

#[test]
fn endless_nesting_needs_no_stack() {
    let open = words(&"( type directory entry ( name d node ".repeat(10_000));
    let nar = [words("nix-archive-1"), open].concat();
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    let refused = thread
        .spawn(move || NarReader::new(&nar[..]).finish().is_err())
        .unwrap();
    assert!(refused.join().unwrap());
}

#[test]
fn hostile_lengths_are_refused_in_every_place() {
    let places = [
        "",
        "nix-archive-1",
        "nix-archive-1 (",
        "nix-archive-1 ( type",
        "nix-archive-1 ( type regular",
        "nix-archive-1 ( type regular executable",
        "nix-archive-1 ( type regular contents",
        "nix-archive-1 ( type symlink target",
        "nix-archive-1 ( type directory",
        "nix-archive-1 ( type directory entry ( name",
        "nix-archive-1 ( type directory entry ( name a node ( type regular contents",
    ];
    for place in places {
        for length in (20..64)
            .map(|i| 1 << i)
            .chain([u64::MAX, u64::MAX - 7, 1 << 63])
        {
            let mut nar = words(place);
            nar.extend(length.to_le_bytes());
            nar.extend([0; 64]);
            problem(&nar);
        }
    }
}

#[test]
fn nothing_is_taken_behind_the_archive() {
    let tree = Tree::dir([("a", Tree::file("x")), ("b", Tree::dir([]))]);
    for tree in [
        tree,
        Tree::file(""),
        Tree::file("12345678"),
        Tree::link("x"),
        Tree::dir([]),
    ] {
        let mut bytes = tree.nar();
        let size = bytes.len();
        bytes.extend_from_slice(b"rest");
        for capacity in [1, 8, 100, 10_000] {
            let mut reader = BufReader::with_capacity(capacity, &bytes[..]);
            let copied = copy(&mut reader, &mut std::io::sink()).unwrap();
            assert_eq!(copied, size as u64);
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"rest");
        }
    }
}

/// A reader that fails the test when it is asked for more than it has.
struct Exactly<'a>(&'a [u8]);

impl Read for Exactly<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        assert!(!self.0.is_empty(), "asked for a byte behind the archive");
        self.0.read(out)
    }
}

#[test]
fn the_reader_is_never_asked_for_a_byte_behind_the_archive() {
    for tree in [
        Tree::file("x"),
        Tree::dir([("a", Tree::link("t"))]),
        Tree::dir([]),
    ] {
        let nar = tree.nar();
        for capacity in [1, 8, 24, 1000] {
            let mut reader = BufReader::with_capacity(capacity, Exactly(&nar));
            let size = copy(&mut reader, &mut std::io::sink()).unwrap();
            assert_eq!(size, nar.len() as u64);
        }
    }
}

#[test]
fn a_limit_holds_for_contents_and_for_tokens() {
    let nar = Tree::dir([("a", Tree::file([0; 1000])), ("b", Tree::file("x"))]).nar();
    let size = nar.len() as u64;
    copy_limited(&mut &nar[..], size, &mut std::io::sink()).unwrap();
    for limit in 0..size {
        let error = copy_limited(&mut &nar[..], limit, &mut std::io::sink()).unwrap_err();
        let too_long = matches!(
            error,
            Error::BadArchive {
                problem: Problem::TooLong { .. },
                ..
            }
        );
        assert!(too_long, "limit {limit}: {error}");
    }
    // The header alone tells that 2^40 bytes are too many.
    let mut huge = words("nix-archive-1 ( type regular contents");
    huge.extend((1u64 << 40).to_le_bytes());
    let error = copy_limited(&mut &huge[..], 1 << 30, &mut std::io::sink()).unwrap_err();
    assert!(matches!(
        error,
        Error::BadArchive {
            problem: Problem::TooLong { .. },
            ..
        }
    ));
}

#[test]
fn reading_on_after_an_error_is_an_error() {
    let nar = words("nix-archive-1 ( type fifo )");
    let mut reader = NarReader::new(&nar[..]);
    assert!(reader.next().is_err());
    assert!(reader.next().is_err());
}

#[test]
fn the_end_stays_the_end() {
    let nar = Tree::file("x").nar();
    let mut reader = NarReader::new(&nar[..]);
    assert_eq!(reader.finish().unwrap(), nar.len() as u64);
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn failures_of_either_end_are_told_apart() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no line"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("no room"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let nar = Tree::file("x").nar();
    let mut broken = BufReader::new((&nar[..50]).chain(Broken));
    let error = copy(&mut broken, &mut std::io::sink()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Read {
                offset: 40..=50,
                ..
            }
        ),
        "{error:?}"
    );
    let error = copy(&mut &nar[..], &mut Broken).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error:?}");
}

#[test]
fn errors_read_well() {
    let link = "( type symlink target x )";
    let text = format!(
        "{DIR} entry ( name d node {} entry ( name b node {link} ) entry ( name a node",
        &DIR[14..]
    );
    let error = Tree::read(&words(&text)[..]).unwrap_err();
    insta::assert_snapshot!(error, @"bad archive: NAR directory is not sorted: 'a' after 'b' (offset 456, in 'd/b')");
}

proptest! {
    #[test]
    fn copy_and_rewriting_give_the_same_bytes(tree in Tree::arbitrary(), capacity in 1usize..3000) {
        let nar = tree.nar();
        let mut copied = Vec::new();
        copy(&mut BufReader::with_capacity(capacity, &nar[..]), &mut copied).unwrap();
        prop_assert!(copied == nar);
        let read = Tree::read(BufReader::with_capacity(capacity, &nar[..])).unwrap();
        prop_assert!(read == tree);
    }

    #[test]
    fn what_is_accepted_after_a_change_is_still_canonical(
        tree in Tree::arbitrary(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut nar = tree.nar();
        for (at, byte) in changes {
            let at = at.index(nar.len());
            nar[at] = byte;
        }
        let mut reader = &nar[..];
        if let Ok(tree) = Tree::read(&mut reader) {
            let used = nar.len() - reader.len();
            prop_assert!(tree.nar() == nar[..used]);
        }
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Tree::read(&bytes[..]);
        let _ = Tree::read(&[words(DIR), bytes].concat()[..]);
    }
}
